package s3store

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// parsePrefix takes s3://bucket[/prefix] apart.
func parsePrefix(uri string) (bucket, key string, err error) {
	if bucket, ok := strings.CutPrefix(strings.TrimSuffix(uri, "/"), "s3://"); ok && bucket != "" && !strings.Contains(bucket, "/") {
		return bucket, "", nil
	}
	l, err := parseURI(uri)
	return l.bucket, l.key, err
}

// Prefix is a read-only file system of the objects below a key. An object that S3 does not have is fs.ErrNotExist;
// everything is read again at each call.
type Prefix struct {
	ctx         context.Context // fs.FS has no contexts; the file system is used within one step
	s3          S3
	bucket, key string
	limit       int64
}

// NewPrefix returns the file system of s3://bucket[/prefix] until ctx ends. A file larger than limit bytes cannot be opened.
func NewPrefix(ctx context.Context, c S3, uri string, limit int64) (Prefix, error) {
	bucket, key, err := parsePrefix(uri)
	return Prefix{ctx: ctx, s3: c, bucket: bucket, key: key, limit: limit}, err
}

// Prefix is these.
var (
	_ fs.StatFS    = Prefix{}
	_ fs.ReadDirFS = Prefix{}
)

func (p Prefix) at(op, name string) (location, error) {
	if !fs.ValidPath(name) || strings.ContainsRune(name, '\\') {
		return location{}, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	if name == "." {
		return location{p.bucket, p.key}, nil
	}
	return location{p.bucket, path.Join(p.key, name)}, nil
}

func pathError(op, name string, err error) error {
	if missing(err) {
		err = fs.ErrNotExist
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// Open reads a whole file. The root, as any prefix, is no file.
func (p Prefix) Open(name string) (fs.File, error) {
	l, err := p.at("open", name)
	if err != nil {
		return nil, err
	}
	data, err := get(p.ctx, p.s3, l, p.limit)
	if err != nil {
		return nil, pathError("open", name, err)
	}
	return &object{Reader: bytes.NewReader(data), info: info{name: path.Base(name), size: int64(len(data))}}, nil
}

// Stat asks for an object without its content. Anything that S3 does not have as an object is taken for a directory only
// when it is the root.
func (p Prefix) Stat(name string) (fs.FileInfo, error) {
	l, err := p.at("stat", name)
	if err != nil {
		return nil, err
	}
	if name == "." {
		return info{name: ".", dir: true}, nil
	}
	out, err := p.s3.HeadObject(p.ctx, &s3.HeadObjectInput{Bucket: aws.String(l.bucket), Key: aws.String(l.key)})
	if err != nil {
		return nil, pathError("stat", name, err)
	}
	return info{name: path.Base(name), size: aws.ToInt64(out.ContentLength), modified: aws.ToTime(out.LastModified)}, nil
}

// ReadDir lists what is directly below a prefix, sorted by name.
func (p Prefix) ReadDir(name string) ([]fs.DirEntry, error) {
	l, err := p.at("readdir", name)
	if err != nil {
		return nil, err
	}
	var out []fs.DirEntry
	below := ""
	if l.key != "" {
		below = l.key + "/"
	}
	in := &s3.ListObjectsV2Input{Bucket: aws.String(l.bucket), Prefix: aws.String(below), Delimiter: aws.String("/")}
	for {
		page, err := p.s3.ListObjectsV2(p.ctx, in)
		if err != nil {
			return nil, pathError("readdir", name, err)
		}
		for _, d := range page.CommonPrefixes {
			sub := strings.TrimSuffix(strings.TrimPrefix(aws.ToString(d.Prefix), below), "/")
			out = append(out, fs.FileInfoToDirEntry(info{name: sub, dir: true}))
		}
		for _, o := range page.Contents {
			// The console makes an empty object of the prefix's own name.
			if base := strings.TrimPrefix(aws.ToString(o.Key), below); base != "" {
				out = append(out, fs.FileInfoToDirEntry(info{name: base, size: aws.ToInt64(o.Size), modified: aws.ToTime(o.LastModified)}))
			}
		}
		if page.NextContinuationToken == nil {
			break
		}
		in.ContinuationToken = page.NextContinuationToken
	}
	slices.SortFunc(out, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return out, nil
}

// object is an open file.
type object struct {
	*bytes.Reader
	info info
}

func (o *object) Stat() (fs.FileInfo, error) { return o.info, nil }
func (o *object) Close() error               { return nil }

var _ interface {
	fs.File
	io.Seeker
} = (*object)(nil)

type info struct {
	name     string
	size     int64
	modified time.Time
	dir      bool
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) ModTime() time.Time { return i.modified }
func (i info) IsDir() bool        { return i.dir }
func (i info) Sys() any           { return nil }
func (i info) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o555
	}
	return 0o444
}
