//! What tonic passes from a connection to the layer.

use std::sync::Arc;

use hyper::Request;
use tonic::transport::server::{Connected, TcpConnectInfo, UdsConnectInfo};

use super::io::Io;
use crate::net::stream::Stream;
use crate::serve::connection::Connection;

/// What tonic passes from an [`Io`] to the [`Layer`](crate::adapt::Layer).
///
/// Services find tonic's own `TcpConnectInfo` or `UdsConnectInfo` in the extensions of a request,
/// as always, so `request.remote_addr()` works.
///
/// ```
/// fn is_known<T>(request: &tonic::Request<T>) -> bool {
///     request.remote_addr().is_some()
/// }
/// ```
#[derive(Clone, Debug)]
pub struct ConnectInfo {
    connection: Arc<Connection>,
    socket: Option<Socket>,
}

#[derive(Clone, Debug)]
enum Socket {
    Tcp(TcpConnectInfo),
    Unix(UdsConnectInfo),
}

impl Connected for Io {
    type ConnectInfo = ConnectInfo;

    fn connect_info(&self) -> ConnectInfo {
        let socket = match self.io.get_ref() {
            Some(Stream::Tcp(stream)) => Some(Socket::Tcp(stream.connect_info())),
            Some(Stream::Unix(stream)) => Some(Socket::Unix(stream.connect_info())),
            _ => None,
        };
        let connection = Arc::clone(self.connection());
        ConnectInfo { connection, socket }
    }
}

impl ConnectInfo {
    /// Takes it out of a request, which gets what tonic's own sockets would have given it.
    pub(crate) fn unpack<B>(mut request: Request<B>) -> (Request<B>, Option<Arc<Connection>>) {
        let Some(info) = request.extensions_mut().remove::<Self>() else {
            return (request, None);
        };
        match info.socket {
            Some(Socket::Tcp(socket)) => drop(request.extensions_mut().insert(socket)),
            Some(Socket::Unix(socket)) => drop(request.extensions_mut().insert(socket)),
            None => {}
        }
        (request, Some(info.connection))
    }
}
