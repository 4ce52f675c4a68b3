// SPDX-License-Identifier: BSL-1.0

// Go's rows; see rows.hpp. WORKERS is GOMAXPROCS. Two goroutines that are locked to threads of their own stand for a
// task that hops. Where others inject from foreign threads, goroutines that are locked to threads do the spawning.
package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"time"
)

const (
	batch      = 1000
	burst      = 100000
	skynetFork = 10
	noSuchRow  = 3
)

// Runs work for a short warm-up, then for size, and says how long the latter took.
func measured(size int, work func(size int)) float64 {
	work(size/10 + 1)
	return timed(func() { work(size) })
}

func timed(work func()) float64 {
	start := time.Now()
	work()
	return time.Since(start).Seconds()
}

func spawn(batches int) {
	for at := 0; at < batches; at++ {
		var group sync.WaitGroup
		group.Add(batch)
		for child := 0; child < batch; child++ {
			go group.Done()
		}
		group.Wait()
	}
}

func yield(times int) {
	var group sync.WaitGroup
	group.Add(batch)
	for task := 0; task < batch; task++ {
		go func() {
			for at := 0; at < times; at++ {
				runtime.Gosched()
			}
			group.Done()
		}()
	}
	group.Wait()
}

func pingPong(times, capacity int, locked bool) {
	there, back := make(chan int, capacity), make(chan int, capacity)
	var group sync.WaitGroup
	group.Add(2)
	play := func(from <-chan int, to chan<- int, serves bool) {
		if locked {
			runtime.LockOSThread()
		}
		if serves {
			to <- 1
		}
		for at := 0; at < times; at++ {
			ball := <-from
			if !serves || at+1 < times {
				to <- ball
			}
		}
		group.Done()
	}
	go play(there, back, false)
	go play(back, there, true)
	group.Wait()
}

func inject(rounds, threads int) {
	var spawners sync.WaitGroup
	spawners.Add(threads)
	for thread := 0; thread < threads; thread++ {
		go func() {
			runtime.LockOSThread()
			for round := 0; round < rounds; round++ {
				var group sync.WaitGroup
				group.Add(burst / threads)
				for task := 0; task < burst/threads; task++ {
					go group.Done()
				}
				group.Wait()
			}
			spawners.Done()
		}()
	}
	spawners.Wait()
}

func fib(n int) int {
	if n < 2 {
		return n
	}
	one := make(chan int, 1)
	go func() { one <- fib(n - 1) }()
	other := fib(n - 2)
	return <-one + other
}

func fibCalls(n int) int {
	calls, next := 1, 1
	for ; n > 0; n-- {
		calls, next = next, calls+next+1
	}
	return calls
}

func skynet(first, leaves int, result chan<- int) {
	if leaves == 1 {
		result <- first
		return
	}
	parts := make(chan int, skynetFork)
	share := leaves / skynetFork
	for part := 0; part < skynetFork; part++ {
		go skynet(first+part*share, share, parts)
	}
	sum := 0
	for part := 0; part < skynetFork; part++ {
		sum += <-parts
	}
	result <- sum
}

func skynetTasks(leaves int) int {
	tasks := 0
	for ; leaves > 0; leaves /= skynetFork {
		tasks += leaves
	}
	return tasks
}

func sumUp(leaves int) {
	result := make(chan int, 1)
	skynet(0, leaves, result)
	if <-result != leaves*(leaves-1)/2 {
		fmt.Fprintln(os.Stderr, "wrong result of skynet")
		os.Exit(1)
	}
}

func run(row string, size int) (int, float64) {
	switch row {
	case "spawn":
		return size * batch, measured(size, spawn)
	case "yield":
		return size * batch, measured(size, yield)
	case "hop":
		return 2 * size, measured(size, func(times int) { pingPong(times, 0, true) })
	case "pingpong":
		return 2 * size, measured(size, func(times int) { pingPong(times, 1, true) })
	case "pingpong_free":
		return 2 * size, measured(size, func(times int) { pingPong(times, 1, false) })
	case "inject1":
		inject(1, 1)
		return size * burst, timed(func() { inject(size, 1) })
	case "inject4":
		inject(1, 1)
		return size * burst, timed(func() { inject(size, 4) })
	case "fib":
		fib(size)
		return fibCalls(size), timed(func() { fib(size) })
	case "skynet":
		sumUp(size)
		return skynetTasks(size), timed(func() { sumUp(size) })
	}
	os.Exit(noSuchRow)
	return 0, 0
}

func number(text string) int {
	value, err := strconv.Atoi(text)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	return value
}

func main() {
	if len(os.Args) < 4 {
		fmt.Fprintf(os.Stderr, "usage: %s ROW SIZE WORKERS\n", os.Args[0])
		os.Exit(2)
	}
	runtime.GOMAXPROCS(number(os.Args[3]))
	ops, seconds := run(os.Args[1], number(os.Args[2]))
	fmt.Printf("{\"ops\": %d, \"seconds\": %.9f}\n", ops, seconds)
}
