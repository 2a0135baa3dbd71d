//! Dead letters of a pipeline that runs: it goes on to write to a new file, and takes back records
//! that it has rejected.

use std::path::PathBuf;
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{Query, State};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use utoipa::ToSchema;

use crate::Control;
use crate::refusal::Refusal;
use pipehost_codec::frames::{self, Frame};
use pipehost_http::ConnectionSlot;
use pipehost_pipeline::{Replay, Request};
use pipehost_record::Letter;

/// The most bytes of letters that are replayed at once: the largest letter that a file may hold.
const LARGEST: usize = (256 << 20) + (1 << 20);

/// The file of the dead letters was closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Rotated {
    /// The name that it has now; none if there were no letters in it.
    #[schema(value_type = Option<String>)]
    pub file: Option<PathBuf>,
}

/// Letters were replayed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Replayed {
    /// Letters that were sent. Each was written by a sink, or was rejected again: then it is among
    /// the dead letters.
    pub letters: u64,
}

/// Closes the file of the dead letters: the pipeline goes on to write to a new one.
///
/// Answers once a checkpoint is complete that names the new file. The closed one belongs to the
/// client.
#[utoipa::path(
    post,
    path = "/v1/dead-letters/rotate",
    responses(
        (status = 200, description = "The file is closed.", body = Rotated),
        (status = 409, description = "The pipeline has no such file, or is about to end."),
    )
)]
pub(crate) async fn rotate(
    State(control): State<Control>,
    Extension(connection): Extension<Arc<ConnectionSlot>>,
) -> Result<Json<Rotated>, Refusal> {
    let _busy = connection.busy();
    let (answer, answered) = oneshot::channel();
    send(&control, Request::RotateLetters(answer)).await?;
    let file = answered
        .await
        .map_err(|_| ended())?
        .map_err(|why| Refusal::conflict(format!("{why:#}")))?;
    Ok(Json(Rotated { file }))
}

/// Sends records back to the stages and sinks that rejected them.
///
/// The body is a sequence of letters as frames, as in a file of dead letters. The pipeline is
/// suspended for a moment before and behind them; meanwhile, each of its nodes keeps what it rejects
/// as dead letters. Answers once all have gone through.
#[utoipa::path(
    post,
    path = "/v1/dead-letters/replay",
    params(("check" = Option<bool>, Query, description = "Only say whether the letters would be taken")),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 200, description = "All letters have gone through.", body = Replayed),
        (status = 400, description = "The body holds something else."),
        (status = 409, description = "The pipeline cannot take them now: nothing was sent."),
        (status = 413, description = "There are too many letters for one request."),
        (status = 500, description = "How far they came is not known: some may have reached a sink."),
    )
)]
pub(crate) async fn replay(
    State(control): State<Control>,
    Extension(connection): Extension<Arc<ConnectionSlot>>,
    Query(How { check }): Query<How>,
    body: Body,
) -> Result<Json<Replayed>, Refusal> {
    // Before the body is read: two of them would take twice the memory.
    let Ok(_only) = control.limits.replays.try_acquire() else {
        return Err(Refusal::conflict("other letters are just being replayed: nothing was sent"));
    };
    let body = to_bytes(body, LARGEST).await.map_err(|error| {
        Refusal::too_large(format!("the body cannot be read, or is too large: {error}"))
    })?;
    // From now on, the client waits for us, and its connection must stay.
    let _busy = connection.busy();
    let letters = letters(&body).map_err(Refusal::bad_request)?;
    drop(body);
    let count = letters.len() as u64;
    if count > 0 {
        let (answer, answered) = oneshot::channel();
        let only_check = check.unwrap_or(false);
        send(&control, Request::Replay(Replay { letters, only_check, answer })).await?;
        let done = answered.await.map_err(|_| unknown())?;
        done.map_err(|why| Refusal::conflict(format!("{why:#}")))?;
    }
    Ok(Json(Replayed { letters: count }))
}

async fn send(control: &Control, request: Request) -> Result<(), Refusal> {
    control.requests.send(request).await.map_err(|_| ended())
}

fn ended() -> Refusal {
    Refusal::conflict("the pipeline has ended")
}

fn unknown() -> Refusal {
    Refusal::unknown("the pipeline has ended: how far the letters came is not known")
}

/// How letters are replayed.
#[derive(Deserialize)]
pub(crate) struct How {
    check: Option<bool>,
}

fn letters(mut bytes: &[u8]) -> Result<Vec<Letter>, String> {
    let mut letters = Vec::new();
    while !bytes.is_empty() {
        let at = || format!("letter {}", letters.len() + 1);
        match frames::read(bytes) {
            Ok(Some((Frame::Letter(letter), length))) => {
                letters.push(letter);
                bytes = &bytes[length..];
            }
            Ok(Some((Frame::Record(_), _))) => return Err(format!("{} is a record", at())),
            Ok(None) => return Err(format!("{} is torn", at())),
            Err(why) => return Err(format!("{}: {why:#}", at())),
        }
    }
    Ok(letters)
}
