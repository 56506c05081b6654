module gatehouse.bench/service

go 1.21

require (
	github.com/golang-jwt/jwt/v5 v5.2.1
	github.com/mattn/go-sqlite3 v1.14.24
)
