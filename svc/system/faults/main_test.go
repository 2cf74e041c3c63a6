package faults_test

import (
	"testing"

	"github.com/starlightsymphony/starlight/svc/system/systemtest"
)

func TestMain(m *testing.M) { systemtest.Main(m) }
