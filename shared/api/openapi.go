package api

import (
	"bytes"
	_ "embed"
	"encoding/json"
)

// document is the OpenAPI document of All. Package shared/api/openapi makes it, when the tests run with -update: its
// descriptions are the comments of this package, which no binary holds.
//
//go:embed openapi.json
var document []byte

// documentVersion is the version in the file.
var documentVersion = []byte(`"version": "0.0.0"`)

// OpenAPI returns the OpenAPI 3.1 document of the endpoints that have a path, as indented JSON, for a version of the
// system.
func OpenAPI(version string) ([]byte, error) {
	text, err := json.Marshal(version)
	if err != nil {
		return nil, err
	}
	return bytes.Replace(document, documentVersion, append([]byte(`"version": `), text...), 1), nil
}
