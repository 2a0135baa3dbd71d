// The log pipeline of the article that pipehost grew out of, as the article writes its
// stages: a goroutine each, a channel between two, one value at a time. It parses lines,
// keeps ERROR and CRITICAL, adds a prefix, raises an alert at each 1,000th CRITICAL, and
// writes a file: what the benchmark's pipeline does.
//
//	go build -o article . && ./article -buffer 0 in.log out.log
package main

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"strings"
	"time"
)

type LogEntry struct {
	Timestamp time.Time
	Level     string
	Message   string
}

// How many values a channel holds; the article's hold none.
var buffer = flag.Int("buffer", 0, "values that a channel holds")

func source(path string) <-chan string {
	out := make(chan string, *buffer)
	go func() {
		defer close(out)
		file, err := os.Open(path)
		if err != nil {
			log.Fatal(err)
		}
		defer file.Close()
		scanner := bufio.NewScanner(file)
		for scanner.Scan() {
			out <- scanner.Text()
		}
		if err := scanner.Err(); err != nil {
			log.Fatal(err)
		}
	}()
	return out
}

func parseLine(line string) (LogEntry, error) {
	parts := strings.SplitN(line, " ", 3)
	if len(parts) < 3 {
		return LogEntry{}, errors.New("invalid log line: " + line)
	}
	timestamp, err := time.Parse(time.RFC3339, parts[0])
	if err != nil {
		return LogEntry{}, err
	}
	return LogEntry{timestamp, parts[1], parts[2]}, nil
}

func parse(in <-chan string) <-chan LogEntry {
	out := make(chan LogEntry, *buffer)
	go func() {
		defer close(out)
		for line := range in {
			entry, err := parseLine(line)
			if err != nil {
				log.Print(err)
				continue
			}
			out <- entry
		}
	}()
	return out
}

func filter(in <-chan LogEntry, levels ...string) <-chan LogEntry {
	out := make(chan LogEntry, *buffer)
	go func() {
		defer close(out)
		for entry := range in {
			for _, level := range levels {
				if entry.Level == level {
					out <- entry
					break
				}
			}
		}
	}()
	return out
}

func addPrefix(in <-chan LogEntry, prefix string) <-chan LogEntry {
	out := make(chan LogEntry, *buffer)
	go func() {
		defer close(out)
		for entry := range in {
			entry.Message = prefix + entry.Message
			out <- entry
		}
	}()
	return out
}

func alert(in <-chan LogEntry, level string, threshold int) <-chan string {
	out := make(chan string, *buffer)
	go func() {
		defer close(out)
		count := 0
		for entry := range in {
			if entry.Level == level {
				count++
				if count%threshold == 0 {
					out <- fmt.Sprintf("ALERT: %d %s records, the last: %s", count, level, entry.Message)
				}
			}
			out <- entry.Message
		}
	}()
	return out
}

func sink(in <-chan string, path string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	writer := bufio.NewWriter(file)
	for line := range in {
		if _, err := fmt.Fprintln(writer, line); err != nil {
			return err
		}
	}
	return writer.Flush()
}

func main() {
	flag.Parse()
	entries := filter(parse(source(flag.Arg(0))), "ERROR", "CRITICAL")
	if err := sink(alert(addPrefix(entries, "[WebServer] "), "CRITICAL", 1000), flag.Arg(1)); err != nil {
		log.Fatal(err)
	}
}
