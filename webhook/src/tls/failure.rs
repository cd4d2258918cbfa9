//! Why a TLS handshake failed, and when to say so aloud.

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustls::AlertDescription as Alert;

use crate::metrics::HandshakeFailure;

/// The same warning comes once in this time, however many handshakes fail.
const QUIET: Duration = Duration::from_secs(60);

/// The cause, as far as rustls knows it.
pub(super) fn cause(error: &io::Error) -> HandshakeFailure {
    let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>())
    else {
        return HandshakeFailure::Connection;
    };
    match error {
        rustls::Error::AlertReceived(
            Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA,
        ) => HandshakeFailure::Distrusted,
        rustls::Error::NoCertificatesPresented | rustls::Error::InvalidCertificate(_) => {
            HandshakeFailure::ClientCertificate
        }
        _ => HandshakeFailure::Protocol,
    }
}

/// Warns that a client does not trust the webhook, since pods are being refused if it is the API server.
/// `last` is when it did so last.
pub(super) fn warn_of_distrust(last: &Mutex<Option<Instant>>, error: &io::Error) {
    let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
    if last.is_none_or(|last| last.elapsed() >= QUIET) {
        *last = Some(Instant::now());
        tracing::warn!(
            %error,
            "a client does not trust the serving certificate: if it is the API server, the \
             caBundle in the MutatingWebhookConfiguration is not that of the certificate's CA"
        );
    }
}

#[cfg(test)]
mod tests {
    use rustls::{CertificateError, Error, InvalidMessage};

    use super::*;

    #[test]
    fn causes_are_told_apart() {
        for (error, expected) in [
            (Error::AlertReceived(Alert::UnknownCA), HandshakeFailure::Distrusted),
            (Error::AlertReceived(Alert::BadCertificate), HandshakeFailure::Distrusted),
            (Error::AlertReceived(Alert::ProtocolVersion), HandshakeFailure::Protocol),
            (Error::NoCertificatesPresented, HandshakeFailure::ClientCertificate),
            (
                Error::InvalidCertificate(CertificateError::UnknownIssuer),
                HandshakeFailure::ClientCertificate,
            ),
            (Error::NoApplicationProtocol, HandshakeFailure::Protocol),
            (Error::InvalidMessage(InvalidMessage::InvalidContentType), HandshakeFailure::Protocol),
        ] {
            assert_eq!(cause(&io::Error::other(error.clone())), expected, "{error:?}");
        }
        assert_eq!(cause(&io::ErrorKind::UnexpectedEof.into()), HandshakeFailure::Connection);
    }
}
