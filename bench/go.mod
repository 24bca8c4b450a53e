// The module of comparisons with other libraries, so that nobody who uses the kit has them in their go.sum.
module github.com/doorward/doorward/bench

go 1.26.0

require (
	github.com/doorward/doorward v0.0.0
	github.com/go-redis/redis_rate/v10 v10.0.1
	github.com/redis/go-redis/v9 v9.23.0
)

require (
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	go.uber.org/atomic v1.12.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
)

replace github.com/doorward/doorward => ../
