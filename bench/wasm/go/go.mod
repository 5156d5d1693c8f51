module github.com/nffi/nffi/bench/wasm/go

go 1.24
