// Sends reviews as an API server does: with Go's HTTP client over TLS, each connection kept and used for
// one request after the other.
//
//	load URL CA.pem REVIEW.json CONNECTIONS REQUESTS
//
// It prints one line of JSON: the time for all requests, and the median and the 99th percentile of the
// time for one, in microseconds.
package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

func main() {
	url := os.Args[1]
	connections, requests := number(os.Args[4]), number(os.Args[5])
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(read(os.Args[2]))
	review := read(os.Args[3])
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig:     &tls.Config{RootCAs: roots},
		MaxIdleConnsPerHost: connections,
	}}

	var left atomic.Int64
	left.Store(int64(requests))
	times := make([][]time.Duration, connections)
	var all sync.WaitGroup
	begin := time.Now()
	for connection := range times {
		all.Go(func() {
			for left.Add(-1) >= 0 {
				times[connection] = append(times[connection], post(client, url, review))
			}
		})
	}
	all.Wait()
	elapsed := time.Since(begin)

	sorted := slices.Sorted(slices.Values(slices.Concat(times...)))
	percentile := func(percent int) int64 {
		return sorted[(len(sorted)-1)*percent/100].Microseconds()
	}
	fmt.Printf(`{"elapsed": %d, "p50": %d, "p99": %d}`+"\n",
		elapsed.Microseconds(), percentile(50), percentile(99))
}

func post(client *http.Client, url string, review []byte) time.Duration {
	begin := time.Now()
	response, err := client.Post(url, "application/json", bytes.NewReader(review))
	if err != nil {
		log.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	response.Body.Close()
	took := time.Since(begin)
	if err != nil || response.StatusCode != http.StatusOK || !bytes.Contains(body, []byte(`"allowed":true`)) {
		log.Fatalf("%s: %s %v", response.Status, body, err)
	}
	return took
}

func read(file string) []byte {
	content, err := os.ReadFile(file)
	if err != nil {
		log.Fatal(err)
	}
	return content
}

func number(text string) int {
	parsed, err := strconv.Atoi(text)
	if err != nil || parsed < 1 {
		log.Fatalf("%q is not a number of connections or requests", text)
	}
	return parsed
}
