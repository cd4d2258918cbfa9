// Prints what kubectl reads from manifests, for the comparison with our own reader.
//
// Standard input holds one stream of manifests a line, in base64; for each comes a line
//
//	{"documents":[…],"refused":"why"}
//
// with the documents as the JSON that kubectl goes on with, nulls left out as kubectl leaves them out,
// and with the reason if the stream is refused after them.
package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"log"
	"os"

	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
)

type answer struct {
	Documents []json.RawMessage `json:"documents"`
	Refused   string            `json:"refused,omitempty"`
}

func main() {
	streams := bufio.NewReader(os.Stdin)
	answers := bufio.NewWriter(os.Stdout)
	encoder := json.NewEncoder(answers)
	encoder.SetEscapeHTML(false)
	for {
		line, readError := streams.ReadBytes('\n')
		if line = bytes.TrimSpace(line); len(line) > 0 || readError == nil {
			stream, err := base64.StdEncoding.DecodeString(string(line))
			if err != nil {
				log.Fatal(err)
			}
			if err := encoder.Encode(read(stream)); err != nil {
				log.Fatal(err)
			}
		}
		if readError == io.EOF {
			break
		}
		if readError != nil {
			log.Fatal(readError)
		}
	}
	if err := answers.Flush(); err != nil {
		log.Fatal(err)
	}
}

// The steps of k8s.io/cli-runtime's FileVisitor and StreamVisitor, up to where an object is looked up
// in the cluster.
func read(stream []byte) answer {
	found := answer{Documents: []json.RawMessage{}}
	byteOrder := unicode.BOMOverride(unicode.UTF8.NewDecoder())
	decoder := yaml.NewYAMLOrJSONDecoder(transform.NewReader(bytes.NewReader(stream), byteOrder), 4096)
	for {
		document := runtime.RawExtension{}
		if err := decoder.Decode(&document); err == io.EOF {
			return found
		} else if err != nil {
			found.Refused = err.Error()
			return found
		}
		raw := bytes.TrimSpace(document.Raw)
		if len(raw) > 0 && !bytes.Equal(raw, []byte("null")) {
			found.Documents = append(found.Documents, raw)
		}
	}
}
