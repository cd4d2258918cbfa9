//! The text of `--help`.

/// What `--help` prints: each flag with its default and its unit.
pub const HELP: &str = "\
Does the secret handshake with Legacy over the pod's own localhost, then idles until Legacy restarts.

Usage: sidecar [--flag VALUE | --flag=VALUE]...

Times have a unit: 500ms, 4.5s, 1m, 1h.

Legacy:
  --legacy-port PORT      Legacy's port, on 127.0.0.1 or [::1] (default 3000)
  --half-file FILE        file with the operations half, at most 64 KiB; one trailing newline does not
                          count (default /etc/secret-handshake/half)

Named in the log, so that it says what to create and where:
  --secret NAME           the Secret that the file comes from (default secret-handshake)
  --secret-key KEY        its key (default half)
  --namespace NAMESPACE   its namespace (no default)

The sidecar's own port:
  --listen ADDRESS        where /readyz, /livez and /metrics are served: :PORT for all addresses,
                          ADDRESS:PORT or [ADDRESS]:PORT (default :13300)
  --hold TIME             how long /readyz waits for the handshake before it answers 503; keep it under
                          the probe's timeoutSeconds; /readyz?now never waits (default 4s)
  --max-held COUNT        most requests that wait so at one time (default 16)
  --max-connections COUNT most connections at one time (default 64)
  --head-timeout TIME     how long a client may take to send its request (default 2s)

Log, on stdout:
  --log-level LEVEL       error, warn, info or debug (default info)
  --log-format FORMAT     text or json (default text)
  --remind TIME           least time between two equal lines (default 10s)

While nothing listens on Legacy's port:
  --look-divisor NUMBER   the pause between two looks is the time waited so far, divided by this
                          (default 200)
  --look-min TIME         the pause is at least this (default 5ms)
  --look-max TIME         the pause is at most this (default 50ms)

Handshake:
  --request-timeout TIME  limit of each request to Legacy (default 2s)
  --retry-min TIME        longest pause after a first failure; doubled after each (default 100ms)
  --retry-max TIME        longest pause after any failure (default 5s)
  --verify-every TIME     after Legacy took the secret: pause between two checks of / (default 20ms)
  --verify-for TIME       how long / may stay uninitialised before that is a failure (default 5s)

While Legacy is initialised:
  --idle-look TIME        time between two looks at / while the watched connection holds (default 1m)
  --idle-look-min TIME    least time between two looks, and the time between them without a watch
                          (default 5s)
  --kindness TIME         how long Legacy may take to answer beside the watched connection before that
                          is given up (default 2s)

  -h, --help              print this and exit
  -V, --version           print the version and exit

Exit codes: 0 done, or ended by SIGTERM or SIGINT; 1 the port cannot be used; 2 wrong usage.
";
