//! The bulk interface: actions and documents, a line each, every line with its end.

use crate::http::{Request, response};
use crate::{Reply, State};
use serde_json::{Map, Value, json};

/// Does what a request asks for, as far as the test lets it; the answer.
pub(crate) fn answer(state: &mut State, request: Request) -> (Reply, Vec<u8>) {
    let actions = actions(&request);
    let allowed = state.authorization.as_deref().is_none_or(|wanted| request.header("authorization") == Some(wanted));
    state.requests.push(request);
    let reply = if allowed { state.replies.pop_front().unwrap_or(Reply::Create) } else { refused() };
    let actions = match actions {
        Ok(actions) => actions,
        Err(fault) => {
            let answer = response(400, &[], &error(400, "illegal_argument_exception", &fault).to_string());
            state.faults.push(fault);
            return (Reply::Create, answer);
        }
    };
    let answer = match &reply {
        Reply::Status(status, headers, body) => response(*status, headers, body),
        Reply::CreateHalf(status, kind) => {
            let refuse = |place: usize| (place % 2 == 1).then(|| error(*status, kind, "as the test wants it"));
            let items = actions
                .into_iter()
                .enumerate()
                .map(|(place, action)| refuse(place).unwrap_or_else(|| create(state, action)));
            items_response(items.collect())
        }
        Reply::Close => Vec::new(),
        Reply::Create | Reply::CreateAndBreak | Reply::CreateAndHang => {
            items_response(actions.into_iter().map(|action| create(state, action)).collect())
        }
    };
    (reply, answer)
}

fn refused() -> Reply {
    Reply::Status(
        401,
        Vec::new(),
        r#"{"error":{"type":"security_exception","reason":"missing authentication"},"status":401}"#,
    )
}

fn items_response(items: Vec<Value>) -> Vec<u8> {
    let items: Vec<Value> = items.into_iter().map(|item| json!({"create": item})).collect();
    response(200, &[], &json!({"items": items}).to_string())
}

fn error(status: u16, kind: &str, reason: &str) -> Value {
    json!({"status": status, "error": {"type": kind, "reason": reason}})
}

fn create(state: &mut State, (id, document): (String, Value)) -> Value {
    if state.documents.contains_key(&id) {
        state.conflicts += 1;
        return error(409, "version_conflict_engine_exception", "document already exists");
    }
    state.documents.insert(id, document);
    json!({"status": 201})
}

/// The ids and documents of a request, or what is wrong with it.
fn actions(request: &Request) -> Result<Vec<(String, Value)>, String> {
    let Request { method, target, body, .. } = request;
    let path = target.split('?').next().unwrap_or_default();
    if method != "POST" || !path.ends_with("/_bulk") {
        return Err(format!("{method} {target}"));
    }
    if request.header("content-type") != Some("application/x-ndjson") {
        return Err("the body is not said to be NDJSON".to_owned());
    }
    let text = std::str::from_utf8(body).map_err(|_| "the body is not UTF-8".to_owned())?;
    let lines = text.strip_suffix('\n').ok_or("the last line does not end")?;
    let lines: Vec<Map<String, Value>> = lines
        .split('\n')
        .map(|line| serde_json::from_str(line).map_err(|error| format!("{line:?}: {error}")))
        .collect::<Result<_, _>>()?;
    let (pairs, []) = lines.as_chunks::<2>() else { return Err("an action without a document".to_owned()) };
    pairs
        .iter()
        .map(|[action, document]| {
            let id = (action.len() == 1).then(|| action.get("create")?.get("_id")?.as_str()).flatten();
            let id = id.ok_or_else(|| format!("{action:?} does not create a document with an id"))?;
            // A data stream asks for it.
            let timed = document.get("@timestamp").is_some_and(Value::is_string);
            if timed { Ok((id.to_owned(), Value::Object(document.clone()))) } else { Err(format!("{id} has no time")) }
        })
        .collect()
}
