package nodeagent

import "strings"

// splitImage cuts an image reference into its repository and its tag: "local/postgres:15" into "local/postgres" and "15". A
// digest is no tag, and the colon of a registry's port is none either.
func splitImage(image string) (repo, tag string) {
	image, _, _ = strings.Cut(image, "@")
	if i := strings.LastIndexByte(image, ':'); i > strings.LastIndexByte(image, '/') {
		return image[:i], image[i+1:]
	}
	return image, ""
}
