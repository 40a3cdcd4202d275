//! The list of models, as the engine of the spelling writes it.
use super::Spell;
use crate::simulator::script::request::INPUT_MAX;
use serde_json::{Value, json};

/// The JSON of a list. `created` is in seconds since 1970.
pub fn model_list(spell: &Spell, names: &[String], created: u64) -> Vec<u8> {
    let row = |name: &String| {
        let mut row = json!({ "id": name, "object": "model", "created": created, "owned_by": spell.name });
        match spell.name_of_context {
            "" => {}
            "n_ctx" => row["meta"] = json!({ "n_ctx": INPUT_MAX, "n_ctx_train": INPUT_MAX }),
            field => row[field] = INPUT_MAX.into(),
        }
        row
    };
    let rows: Vec<Value> = names.iter().map(row).collect();
    json!({ "object": "list", "data": rows }).to_string().into_bytes()
}
