//! `/admin/v1/switches` and `/admin/v1/targets`: what is paused, and how the targets do.

use axum::Json;
use axum::extract::{Request, State};
use malote_core::name::{ProviderName, StreamName};
use malote_store::Switch;

use super::AdminState;
use super::api::{SwitchAction, SwitchRequest, SwitchesBody, TargetsBody};
use super::problem::{Problem, ProblemKind};
use super::request;

/// `GET switches`.
pub(super) async fn list(State(state): State<AdminState>) -> Json<SwitchesBody> {
    Json(in_force(&state))
}

/// `POST switches`: durable before it is answered.
pub(super) async fn set(
    State(state): State<AdminState>,
    request: Request,
) -> Result<Json<SwitchesBody>, Problem> {
    let body: SwitchRequest = request::json(request).await?;
    let changes = match (body.stream, body.provider) {
        (Some(stream), None) => of_stream(&state, stream, body.action)?,
        (None, Some(provider)) => of_provider(&state, provider, body.action)?,
        (Some(_), Some(_)) | (None, None) => {
            let text = "give either stream or provider";
            return Err(Problem::new(ProblemKind::InvalidValue, text));
        }
    };
    for (switch, is_on) in changes {
        state.engine.set_switch(switch, is_on).await?;
    }
    Ok(Json(in_force(&state)))
}

/// `GET targets`.
pub(super) async fn targets(State(state): State<AdminState>) -> Json<TargetsBody> {
    let targets = state.engine.targets().into_iter();
    Json(TargetsBody {
        targets: targets.map(Into::into).collect(),
    })
}

fn in_force(state: &AdminState) -> SwitchesBody {
    let switches = state.engine.registry().switches().into_iter();
    SwitchesBody {
        switches: switches.map(Into::into).collect(),
    }
}

/// What to set and clear. What is no longer configured can still be resumed.
fn of_stream(
    state: &AdminState,
    stream: StreamName,
    action: SwitchAction,
) -> Result<Vec<(Switch, bool)>, Problem> {
    let is_known = state.engine.policy().streams.contains_key(&stream);
    let is_on = match action {
        SwitchAction::Pause => true,
        SwitchAction::Resume => false,
        SwitchAction::Drain => {
            let text = "a stream is paused; only a provider is drained";
            return Err(Problem::at(ProblemKind::InvalidValue, "/action", text));
        }
    };
    if is_on && !is_known {
        let text = format!("no stream {stream} is configured");
        return Err(Problem::at(ProblemKind::InvalidValue, "/stream", text));
    }
    Ok(vec![(Switch::StreamPaused(stream), is_on)])
}

fn of_provider(
    state: &AdminState,
    provider: ProviderName,
    action: SwitchAction,
) -> Result<Vec<(Switch, bool)>, Problem> {
    let is_known = state.engine.policy().providers.contains_key(&provider);
    let paused = Switch::ProviderPaused(provider.clone());
    let drained = Switch::ProviderDrained(provider.clone());
    // Set first, then clear: at no time is the provider in between.
    let changes = match action {
        SwitchAction::Pause => vec![(paused, true), (drained, false)],
        SwitchAction::Drain => vec![(drained, true), (paused, false)],
        SwitchAction::Resume => return Ok(vec![(paused, false), (drained, false)]),
    };
    if !is_known {
        let text = format!("no provider {provider} is configured");
        return Err(Problem::at(ProblemKind::InvalidValue, "/provider", text));
    }
    Ok(changes)
}
