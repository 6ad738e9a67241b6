// Package inuse finds, stops and lets go on the processes that use a volume's directory: those whose working directory is in
// it. A PostgreSQL server and all of its children work in their data directory
// (https://www.postgresql.org/docs/current/storage-file-layout.html).
package inuse
