// The unix-socket peer in Go: a goroutine for each connection. echo SOCKET
//
// A 4-byte length before each payload, both ways.
package main

import (
	"bufio"
	"encoding/binary"
	"io"
	"log"
	"net"
	"os"
)

func handle(request []byte) ([]byte, error) {
	return request, nil
}

func serve(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReaderSize(conn, 128<<10)
	var head [4]byte
	var buffer []byte
	for {
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return
		}
		request := make([]byte, binary.BigEndian.Uint32(head[:]))
		if _, err := io.ReadFull(in, request); err != nil {
			return
		}
		answer, err := handle(request)
		if err != nil {
			return
		}
		buffer = binary.BigEndian.AppendUint32(buffer[:0], uint32(len(answer)))
		buffer = append(buffer, answer...)
		if _, err := conn.Write(buffer); err != nil {
			return
		}
	}
}

func main() {
	listener, err := net.Listen("unix", os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go serve(conn)
	}
}
