module github.com/nffi/nffi/runtimes/go/examples/zstd

go 1.25

require (
	github.com/klauspost/compress v1.20.3
	github.com/nffi/nffi/runtimes/go v0.0.0
)

replace github.com/nffi/nffi/runtimes/go => ../..
