package tokens_test

import (
	"fmt"

	"github.com/doorward/doorward/tokens"
)

// Keys for a purpose of the application come from the same secret.
func ExampleKeyring_Derive() {
	keys := tokens.NewKeyring(tokens.FromSecret([]byte("only for this example: 4f8a-91bc-72de")))
	id, key, err := keys.Derive("", "https://app.example.com", "download links")
	fmt.Println(id, len(key), err)
	// Output: U1X8hB3J 32 <nil>
}
