// Command go-spiffe-interop does with go-spiffe what our own package does, so that each can be tried against the other.
// It speaks JSON, one object a line, and ends when its standard input does.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

func main() {
	if len(os.Args) < 2 {
		fail(fmt.Errorf("usage: go-spiffe-interop watch|bundles|verify|ids|serve|agent|dial [arguments]"))
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	args := os.Args[2:]
	switch os.Args[1] {
	case "watch":
		go untilStdinEnds(cancel)
		watch(ctx, args[0])
	case "bundles":
		bundles(ctx, args[0])
	case "verify":
		verify()
	case "ids":
		ids()
	case "serve":
		go untilStdinEnds(cancel)
		serve(ctx, args[0], args[1])
	case "agent":
		agent(args[0])
	case "dial":
		dial(ctx, args[0], args[1])
	default:
		fail(fmt.Errorf("unknown command %q", os.Args[1]))
	}
}

func say(value any) {
	line, err := json.Marshal(value)
	if err != nil {
		fail(err)
	}
	fmt.Println(string(line))
}

func fail(err error) {
	say(map[string]string{"error": err.Error()})
	os.Exit(1)
}

func untilStdinEnds(cancel func()) {
	_, _ = io.Copy(io.Discard, os.Stdin)
	cancel()
}

type watcher struct{}

func (watcher) OnX509ContextUpdate(state *workloadapi.X509Context) {
	svid := state.DefaultSVID()
	id, err := verifyOwn(svid, state.Bundles)
	if err != nil {
		fail(err)
	}
	domains := []string{}
	roots := 0
	for _, bundle := range state.Bundles.Bundles() {
		domains = append(domains, bundle.TrustDomain().Name())
		roots += len(bundle.X509Authorities())
	}
	say(map[string]any{"id": id, "serial": svid.Certificates[0].SerialNumber.Text(16), "domains": domains, "roots": roots})
}

func (watcher) OnX509ContextWatchError(err error) {
	say(map[string]string{"problem": err.Error()})
}

// watch tells every state that the Workload API pushes, each verified by go-spiffe.
func watch(ctx context.Context, address string) {
	err := workloadapi.WatchX509Context(ctx, watcher{}, workloadapi.WithAddr(address))
	if err != nil && ctx.Err() == nil {
		fail(err)
	}
}

func bundles(ctx context.Context, address string) {
	set, err := workloadapi.FetchX509Bundles(ctx, workloadapi.WithAddr(address))
	if err != nil {
		fail(err)
	}
	for _, bundle := range set.Bundles() {
		say(map[string]any{"domain": bundle.TrustDomain().Name(), "roots": len(bundle.X509Authorities())})
	}
}

func verifyOwn(svid *x509svid.SVID, bundles *x509bundle.Set) (string, error) {
	id, _, err := x509svid.Verify(svid.Certificates, bundles)
	return id.String(), err
}

type proof struct {
	// DER, leaf first.
	Chain [][]byte `json:"chain"`
	// DER by trust domain.
	Bundles map[string][][]byte `json:"bundles"`
}

// verify answers, for each chain on standard input, whose it is or why it does not hold.
func verify() {
	lines := json.NewDecoder(os.Stdin)
	for {
		var asked proof
		if err := lines.Decode(&asked); err != nil {
			return
		}
		id, err := verifyProof(asked)
		if err != nil {
			say(map[string]string{"error": err.Error()})
		} else {
			say(map[string]string{"id": id})
		}
	}
}

func verifyProof(asked proof) (string, error) {
	set := x509bundle.NewSet()
	for domain, ders := range asked.Bundles {
		td, err := spiffeid.TrustDomainFromString(domain)
		if err != nil {
			return "", err
		}
		roots, err := parse(ders)
		if err != nil {
			return "", err
		}
		set.Add(x509bundle.FromX509Authorities(td, roots))
	}
	chain, err := parse(asked.Chain)
	if err != nil {
		return "", err
	}
	id, _, err := x509svid.Verify(chain, set)
	return id.String(), err
}

func parse(ders [][]byte) ([]*x509.Certificate, error) {
	var parsed []*x509.Certificate
	for _, der := range ders {
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		parsed = append(parsed, certificate)
	}
	return parsed, nil
}

// ids answers, for each JSON string on standard input, whether it is a SPIFFE ID.
func ids() {
	lines := json.NewDecoder(os.Stdin)
	for {
		var text string
		if err := lines.Decode(&text); err != nil {
			return
		}
		_, err := spiffeid.FromString(text)
		say(map[string]bool{"ok": err == nil})
	}
}

// serve tells every client over mutual TLS who it is.
func serve(ctx context.Context, address, socket string) {
	source, err := workloadapi.NewX509Source(ctx, workloadapi.WithClientOptions(workloadapi.WithAddr(address)))
	if err != nil {
		fail(err)
	}
	defer source.Close()
	config := tlsconfig.MTLSServerConfig(source, source, tlsconfig.AuthorizeAny())
	config.NextProtos = []string{"h2"}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		fail(err)
	}
	go func() {
		<-ctx.Done()
		_ = listener.Close()
	}()
	say(map[string]string{"listening": socket})
	for {
		raw, err := listener.Accept()
		if err != nil {
			return
		}
		go greet(ctx, tls.Server(raw, config))
	}
}

func greet(ctx context.Context, conn *tls.Conn) {
	defer conn.Close()
	if err := conn.HandshakeContext(ctx); err != nil {
		say(map[string]string{"problem": err.Error()})
		return
	}
	id, err := x509svid.IDFromCert(conn.ConnectionState().PeerCertificates[0])
	if err != nil {
		fail(err)
	}
	fmt.Fprintf(conn, "%s\n", id)
}

// dial tells who the server is and what it says first.
func dial(ctx context.Context, address, socket string) {
	source, err := workloadapi.NewX509Source(ctx, workloadapi.WithClientOptions(workloadapi.WithAddr(address)))
	if err != nil {
		fail(err)
	}
	defer source.Close()
	config := tlsconfig.MTLSClientConfig(source, source, tlsconfig.AuthorizeAny())
	config.NextProtos = []string{"h2"}
	raw, err := net.Dial("unix", socket)
	if err != nil {
		fail(err)
	}
	conn := tls.Client(raw, config)
	defer conn.Close()
	if err := conn.HandshakeContext(ctx); err != nil {
		fail(err)
	}
	state := conn.ConnectionState()
	id, err := x509svid.IDFromCert(state.PeerCertificates[0])
	if err != nil {
		fail(err)
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		fail(err)
	}
	say(map[string]string{"server": id.String(), "said": line[:len(line)-1], "alpn": state.NegotiatedProtocol})
}
