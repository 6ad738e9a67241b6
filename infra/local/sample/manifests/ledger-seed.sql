-- The same rows at every deployment, but for the heartbeat. No clock, no random number. Tables first: they commit by themselves, and
-- the role comes last, so that a seed that broke off is seen by its absence.
DROP TABLE IF EXISTS entries, heartbeat, canary;
CREATE TABLE entries (
  id           INT PRIMARY KEY,
  account      VARCHAR(40) NOT NULL,
  amount_cents BIGINT NOT NULL,
  booked_at    TIMESTAMP NOT NULL
) ENGINE=InnoDB;
-- When the ledger last did something: the newest row that comes back tells how much was lost.
CREATE TABLE heartbeat (at TIMESTAMP(6) NOT NULL) ENGINE=InnoDB;
-- A value that must come back byte by byte.
CREATE TABLE canary (value VARCHAR(200) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL) ENGINE=InnoDB;
START TRANSACTION;
INSERT INTO entries
  SELECT seq, CONCAT('account-', LPAD(1 + seq * 37 MOD 50, 2, '0')), CAST(seq * 7919 MOD 99900 AS SIGNED) - 49950,
         TIMESTAMP '2026-01-01 00:00:00' + INTERVAL seq * 7 MINUTE
  FROM seq_1_to_{{entries}};
INSERT INTO canary VALUES ({{canary}});
COMMIT;
CREATE OR REPLACE USER {{reader}}@'%' IDENTIFIED BY {{password}};
GRANT SELECT ON {{database}}.* TO {{reader}}@'%';
