// Command etcdload puts load on an etcd cluster, for comparison with ours.
//
// It reads orders as lines of JSON and answers each with one line:
//
//	{"do":"load","outstanding":64,"size":128,"s":2}  ->  {"ops_per_s":...,"p50_ms":...,"p99_ms":...,"errors":...}
//	{"do":"leader"}                                  ->  {"index":1}
//	{"do":"probe","to":[0,2]}                        ->  {"at_ns":...}   (CLOCK_MONOTONIC)
//
// Endpoints are the arguments. Load goes to the leader, over one connection for one outstanding
// request and over eight otherwise (one HTTP/2 connection is the bottleneck of many).
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"go.etcd.io/etcd/clientv3"
)

const (
	connections = 8
	probeEvery  = 10 * time.Millisecond
	keys        = 1000
)

type order struct {
	Do          string
	Outstanding int
	Size        int
	S           float64
	To          []int
}

type cluster struct {
	endpoints []string
	clients   [][]*clientv3.Client
	leader    int
}

func main() {
	c := &cluster{endpoints: os.Args[1:]}
	c.connect()
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var o order
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
			fail(err)
		}
		switch o.Do {
		case "leader":
			answer(map[string]int{"index": c.findLeader()})
		case "load":
			answer(c.load(o))
		case "probe":
			answer(map[string]int64{"at_ns": c.probe(o.To)})
		}
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "etcdload:", err)
	os.Exit(1)
}

func answer(value interface{}) {
	if err := json.NewEncoder(os.Stdout).Encode(value); err != nil {
		fail(err)
	}
}

func (c *cluster) connect() {
	for _, endpoint := range c.endpoints {
		var clients []*clientv3.Client
		for i := 0; i < connections; i++ {
			client, err := clientv3.New(clientv3.Config{
				Endpoints:   []string{endpoint},
				DialTimeout: 5 * time.Second,
			})
			if err != nil {
				fail(err)
			}
			clients = append(clients, client)
		}
		c.clients = append(c.clients, clients)
	}
}

// findLeader answers the position of the endpoint that leads; it waits until one does.
func (c *cluster) findLeader() int {
	for {
		for i, clients := range c.clients {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			status, err := clients[0].Status(ctx, c.endpoints[i])
			cancel()
			if err == nil && status.Leader != 0 && status.Leader == status.Header.MemberId {
				c.leader = i
				c.warm()
				return i
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// warm opens every connection, so that no probe pays for a handshake.
func (c *cluster) warm() {
	for _, clients := range c.clients {
		for _, client := range clients {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			_, _ = client.Get(ctx, "warm", clientv3.WithSerializable())
			cancel()
		}
	}
}

func (c *cluster) load(o order) map[string]float64 {
	used := 1
	if o.Outstanding > 1 {
		used = connections
	}
	value := strings.Repeat("x", o.Size)
	start := time.Now()
	stop := start.Add(time.Duration(o.S * float64(time.Second)))
	var (
		mutex     sync.Mutex
		group     sync.WaitGroup
		latencies []time.Duration
		errors    int
	)
	for i := 0; i < o.Outstanding; i++ {
		group.Add(1)
		go func(i int) {
			defer group.Done()
			own, failed := putUntil(stop, c.clients[c.leader][i%used], fmt.Sprintf("k%04d", i%keys), value)
			mutex.Lock()
			latencies = append(latencies, own...)
			errors += failed
			mutex.Unlock()
		}(i)
	}
	group.Wait()
	return summary(latencies, time.Since(start), errors)
}

func putUntil(stop time.Time, client *clientv3.Client, key, value string) ([]time.Duration, int) {
	var latencies []time.Duration
	errors := 0
	for {
		start := time.Now()
		if !start.Before(stop) {
			return latencies, errors
		}
		if _, err := client.Put(context.Background(), key, value); err != nil {
			errors++
		} else {
			latencies = append(latencies, time.Since(start))
		}
	}
}

func summary(latencies []time.Duration, elapsed time.Duration, errors int) map[string]float64 {
	sort.Slice(latencies, func(a, b int) bool { return latencies[a] < latencies[b] })
	at := func(share float64) float64 {
		if len(latencies) == 0 {
			return 0
		}
		return float64(latencies[int(share*float64(len(latencies)-1))]) / float64(time.Millisecond)
	}
	return map[string]float64{
		"ops_per_s": float64(len(latencies)) / elapsed.Seconds(),
		"p50_ms":    at(0.5),
		"p99_ms":    at(0.99),
		"errors":    float64(errors),
	}
}

// probe offers a put to every given member again and again; it answers when the first is committed.
func (c *cluster) probe(to []int) int64 {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	committed := make(chan int64, 1)
	for {
		for _, i := range to {
			go func(client *clientv3.Client) {
				if _, err := client.Put(ctx, "probe", "x"); err == nil {
					select {
					case committed <- monotonic():
					default:
					}
				}
			}(c.clients[i][0])
		}
		select {
		case at := <-committed:
			return at
		case <-time.After(probeEvery):
		}
	}
}

// monotonic answers CLOCK_MONOTONIC, which other processes of the machine can read as well.
func monotonic() int64 {
	const clockMonotonic = 1
	var now syscall.Timespec
	_, _, errno := syscall.Syscall(
		syscall.SYS_CLOCK_GETTIME, clockMonotonic, uintptr(unsafe.Pointer(&now)), 0)
	if errno != 0 {
		fail(errno)
	}
	return now.Nano()
}
