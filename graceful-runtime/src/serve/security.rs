//! What lies between the socket and HTTP.

use super::connection::Connection;
use crate::net::listener::Listener;
use crate::net::stream::Stream;

/// What lies between the socket and HTTP.
#[derive(Clone, Debug)]
pub(super) enum Security {
    ClearText,
    #[cfg(feature = "tls")]
    Tls(super::tls::Tls),
}

impl Security {
    pub(super) fn is_clear_text(&self) -> bool {
        matches!(self, Self::ClearText)
    }

    /// Says where `listener` is reached, as a person would type it.
    pub(super) fn url(&self, listener: &Listener) -> String {
        let url = listener.to_string();
        match self {
            Self::ClearText => url,
            #[cfg(feature = "tls")]
            Self::Tls(_) => url.replacen("http:", "https:", 1),
        }
    }
}

#[cfg_attr(
    not(feature = "tls"),
    allow(unused_variables, reason = "only a handshake waits")
)]
pub(super) async fn secure(
    stream: Stream,
    security: Security,
    connection: &Connection,
) -> Option<Stream> {
    match security {
        Security::ClearText => Some(stream),
        // Boxed, as it is over when the connection's long life begins.
        #[cfg(feature = "tls")]
        Security::Tls(tls) => Box::pin(tls.handshake(stream, connection)).await,
    }
}
