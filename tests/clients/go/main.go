// The command line tools on github.com/eventials/go-tus (tusc is one) cannot be installed from the Go proxy. This is what
// they are made of, and nothing else: the library's documented use, with its own store for resuming.
package main

import (
	"flag"
	"fmt"
	"os"

	"github.com/eventials/go-tus"
	"github.com/eventials/go-tus/leveldbstore"
)

func main() {
	store := flag.String("store", "", "remember the upload's URL in this directory, and resume")
	override := flag.Bool("override-patch-method", false, "send POST in place of PATCH")
	flag.Parse()
	url, err := upload(flag.Arg(0), flag.Arg(1), *store, *override)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(url)
}

func upload(endpoint, path, store string, override bool) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()

	config := tus.DefaultConfig()
	config.OverridePatchMethod = override
	if store != "" {
		if config.Store, err = leveldbstore.NewLeveldbStore(store); err != nil {
			return "", err
		}
		config.Resume = true
	}
	client, err := tus.NewClient(endpoint, config)
	if err != nil {
		return "", err
	}
	upload, err := tus.NewUploadFromFile(file)
	if err != nil {
		return "", err
	}
	uploader, err := client.CreateOrResumeUpload(upload)
	if err != nil {
		return "", err
	}
	return uploader.Url(), uploader.Upload()
}
