package main

import (
	"testing"

	"github.com/pipehost/pipehost/plugin-sdk/go/pipehosttest"
)

func TestLinesWithTheWordAreShouted(t *testing.T) {
	result := pipehosttest.Run(t, open, config{Word: "error"},
		pipehosttest.Value("an error"),
		pipehosttest.Value("fine"),
	)
	result.Want("out", pipehosttest.Value("AN ERROR"), pipehosttest.Value("fine"))
}
