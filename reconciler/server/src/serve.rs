//! The routes. Every answer is plain text; nothing here changes anything.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use model::ports::clock::Clock;
use tokio::net::TcpListener;

use crate::health::Board;

#[derive(Clone)]
struct Shared {
    board: Arc<Board>,
    clock: Arc<dyn Clock>,
}

/// Serves until the process ends. Returns once the port is bound, with the address it got.
pub async fn serve(
    listen: &str,
    board: Arc<Board>,
    clock: Arc<dyn Clock>,
) -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind(listen).await?;
    let address = listener.local_addr()?;
    let routes = Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(Shared { board, clock });
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, routes).await {
            tracing::error!(%error, "the HTTP face ended");
        }
    });
    Ok(address)
}

fn verdict(verdict: Result<(), String>) -> impl IntoResponse {
    match verdict {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

async fn healthz(State(shared): State<Shared>) -> impl IntoResponse {
    verdict(shared.board.healthy(shared.clock.now()))
}

async fn readyz(State(shared): State<Shared>) -> impl IntoResponse {
    verdict(shared.board.ready())
}

async fn metrics(State(shared): State<Shared>) -> impl IntoResponse {
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, shared.board.metrics())
}
