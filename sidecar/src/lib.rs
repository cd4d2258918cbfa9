//! Does the secret handshake with Legacy over the pod's own localhost, then idles.
