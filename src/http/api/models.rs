//! The models on offer: for the page in `/api/config`, and in OpenAI's list form in `/v1/models`.
use super::{ApiError, AppState, auth, private_response};
use crate::{
    chat::{Allowed, Catalog, Model, Range},
    upstream::route::{ModelHealth, ModelState},
};
use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web::Data};
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// `models` of `/api/config`.
pub(super) fn for_page(catalog: &Catalog, health: &[ModelHealth]) -> Value {
    let default = catalog.default().map(|model| &model.id);
    let states: HashMap<&str, ModelState> = health.iter().map(|model| (&*model.name, model.state)).collect();
    let entry = |model: &Model| {
        let state = match states.get(&*model.id) {
            _ if model.is_away => ModelState::Down,
            state => state.copied().unwrap_or(ModelState::Ok),
        };
        json!({
            "id": *model.id,
            "title": *model.title,
            "default": default.is_some_and(|default| *default == model.id),
            "state": state.as_str(),
            "parameters": parameters(&model.allowed),
            "continues": model.continues,
        })
    };
    catalog.models().iter().map(|model| entry(model)).collect()
}

/// What a client may set, with its bounds.
fn parameters(allowed: &Allowed) -> Value {
    let mut all = Map::new();
    if let Some(Range { min, max }) = allowed.temperature {
        all.insert("temperature".to_owned(), json!({ "min": exact(min), "max": exact(max) }));
    }
    if allowed.top_p {
        all.insert("top_p".to_owned(), json!({ "min": 0, "max": 1 }));
    }
    if let Some(max) = allowed.max_tokens {
        all.insert("max_tokens".to_owned(), json!({ "max": max }));
    }
    if allowed.thinking {
        all.insert("thinking".to_owned(), json!(["on", "off"]));
    }
    Value::Object(all)
}

/// The number as it is written: 1.99, not the nearest double to the nearest float.
fn exact(number: f32) -> Value {
    number.to_string().parse::<f64>().map_or(Value::Null, |number| match number {
        whole if whole.fract() == 0.0 => json!(whole as i64),
        number => json!(number),
    })
}

/// `GET /v1/models`, as in the OpenAI API, with ours beside it. Aliases are not listed.
pub(super) async fn list(request: HttpRequest, state: Data<AppState>) -> HttpResponse {
    if let Err(why) = auth::caller(&request, &state.settings) {
        return ApiError::from(why).response();
    }
    let entry = |model: &Model| {
        json!({
            "id": *model.id,
            "object": "model",
            "created": state.created,
            "owned_by": "tidegate",
            "tidegate": {
                "title": *model.title,
                "context": model.context,
                "parameters": parameters(&model.allowed),
            },
        })
    };
    let data: Value = state.models.now().models().iter().map(|model| entry(model)).collect();
    private_response(StatusCode::OK).json(json!({ "object": "list", "data": data }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_down_when_nothing_answers_for_it_or_its_engine_is_away() {
        let health = |name: &str, state| ModelHealth { name: name.into(), state, targets: Vec::new() };
        let health = [
            health("a", ModelState::Degraded),
            health("b", ModelState::Down),
            health("c", ModelState::Ok),
            health("gone", ModelState::Down),
        ];
        let away = Model { is_away: true, ..Model::named("c") };
        let models = ["a", "b"].map(Model::named).into_iter().chain([away, Model::named("new")]);
        let shown = for_page(&Catalog::new(models.collect()), &health);
        let states: Vec<_> = shown.as_array().unwrap().iter().map(|model| &model["state"]).collect();
        assert_eq!(states, ["degraded", "down", "down", "ok"]);
    }

    #[test]
    fn only_what_a_client_may_set_is_listed() {
        assert_eq!(parameters(&Allowed::default()), json!({}));
        let all = Allowed {
            temperature: Some(Range { min: 0.0, max: 1.99 }),
            top_p: true,
            max_tokens: Some(4096),
            thinking: true,
        };
        let expected = r#"{"max_tokens":{"max":4096},"temperature":{"max":1.99,"min":0},"thinking":["on","off"],"top_p":{"max":1,"min":0}}"#;
        assert_eq!(parameters(&all), serde_json::from_str::<Value>(expected).unwrap());
    }
}
