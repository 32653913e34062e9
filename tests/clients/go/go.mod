module highwater.invalid/tests/clients/go

go 1.19

require (
	github.com/eventials/go-tus v0.0.0-20190617130015-9db47421f6a0
	github.com/syndtr/goleveldb v1.0.0
)

require github.com/golang/snappy v0.0.1 // indirect
