// SPDX-License-Identifier: BSL-1.0

// An echo server in Go: a goroutine and a buffer for each connection. Go sets TCP_NODELAY by itself.
package main

import (
	"flag"
	"fmt"
	"net"
	"os"
	"runtime"
)

const bufferBytes = 16384

func echo(connection net.Conn) {
	defer connection.Close()
	buffer := make([]byte, bufferBytes)
	for {
		length, err := connection.Read(buffer)
		if err != nil {
			return
		}
		if _, err := connection.Write(buffer[:length]); err != nil {
			return
		}
	}
}

func main() {
	port := flag.Int("port", 7000, "to listen on")
	threads := flag.Int("threads", 1, "that run goroutines")
	flag.Parse()
	runtime.GOMAXPROCS(*threads)
	listener, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", *port))
	if err != nil {
		fmt.Fprintln(os.Stderr, "echo:", err)
		os.Exit(1)
	}
	fmt.Printf("echo: listening on %s (go, GOMAXPROCS %d)\n", listener.Addr(), *threads)
	for {
		connection, err := listener.Accept()
		if err != nil {
			fmt.Fprintln(os.Stderr, "echo:", err)
			os.Exit(1)
		}
		go echo(connection)
	}
}
