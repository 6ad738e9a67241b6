-- The same rows at every deployment, but for the heartbeat. No sequence, no clock, no random number.
BEGIN;
CREATE TABLE customers (
  id    integer PRIMARY KEY,
  name  text NOT NULL,
  email text NOT NULL UNIQUE
);
CREATE TABLE orders (
  id           integer PRIMARY KEY,
  customer_id  integer NOT NULL REFERENCES customers,
  amount_cents integer NOT NULL CHECK (amount_cents > 0),
  placed_at    timestamptz NOT NULL
);
INSERT INTO customers
  SELECT i, 'Customer ' || i, 'customer' || i || '@example.com' FROM generate_series(1, {{customers}}) AS i;
INSERT INTO orders
  SELECT i, 1 + (i * 37) % {{customers}}, 100 + (i * 7919) % 99900, timestamptz '2026-01-01 00:00:00+00' + i * interval '7 minutes'
  FROM generate_series(1, {{orders}}) AS i;
-- When the shop last did something: the newest row that comes back tells how much was lost.
CREATE TABLE heartbeat (at timestamptz NOT NULL);
-- A value that must come back byte by byte.
CREATE TABLE canary (value text NOT NULL);
INSERT INTO canary VALUES ({{canary}});
CREATE ROLE {{reader}} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD {{password}};
GRANT CONNECT ON DATABASE {{database}} TO {{reader}};
GRANT USAGE ON SCHEMA public TO {{reader}};
GRANT SELECT ON customers, orders, heartbeat, canary TO {{reader}};
COMMIT;
