//! A WebSocket that echoes, and says goodbye with close code 1001 when the drain begins.
//!
//! ```text
//! cargo run --example websocket --features websocket
//! kill -TERM PID           # every client gets Close 1001, and the process waits until they are gone
//! ```

use axum::Router;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::routing::any;

#[graceful::main(timeout = "10s")]
async fn main() -> std::io::Result<impl graceful::Server> {
    let app = Router::new().route(
        "/ws",
        any(async |upgrade: WebSocketUpgrade| upgrade.on_upgrade(echo)),
    );
    let listener = graceful::bind("127.0.0.1:3000").await?;
    Ok(graceful::serve(listener, app))
}

async fn echo(mut socket: WebSocket) {
    let mut shutdown = graceful::shutdown();
    let mut is_leaving = false;
    loop {
        tokio::select! {
            message = socket.recv() => match message {
                Some(Ok(Message::Text(text))) => {
                    let _ = socket.send(Message::Text(text)).await;
                }
                Some(Ok(_)) => {}
                // The client has closed, or gone.
                Some(Err(_)) | None => return,
            },
            () = &mut shutdown, if !is_leaving => {
                is_leaving = true;
                let goodbye = CloseFrame { code: close_code::AWAY, reason: "shutting down".into() };
                let _ = socket.send(Message::Close(Some(goodbye))).await;
            }
        }
    }
}
