//! Parameters of a request: each is honoured or refused. One that we do not know, or whose value would change the answer in
//! a way that we cannot, is an error and not an answer to another question.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::http::{ApiError, body};

/// Parameters that change no answer, whatever their value.
const IGNORED: [&str; 6] = [
    "metadata",
    "parallel_tool_calls",
    "prompt_cache_key",
    "safety_identifier",
    "service_tier",
    "user",
];

/// What is left of a request's body.
pub struct Parameters(Map<String, Value>);

impl Parameters {
    pub fn of(bytes: &[u8], example: &str) -> Result<Self, ApiError> {
        body::parse_json(bytes, example).map(Self)
    }

    /// Takes a parameter out; null is as good as left out.
    pub fn take<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>, ApiError> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => serde_json::from_value(value)
                .map(Some)
                .map_err(|error| invalid(name, &format!("{name} is wrong: {error}"))),
        }
    }

    /// A number between two bounds.
    pub fn take_number(
        &mut self,
        name: &str,
        least: f32,
        most: f32,
    ) -> Result<Option<f32>, ApiError> {
        let number: Option<f32> = self.take(name)?;
        match number {
            Some(number) if !(least..=most).contains(&number) => Err(invalid(
                name,
                &format!("{name} is {number}; it must be between {least} and {most}"),
            )),
            number => Ok(number),
        }
    }

    /// Refuses what nobody has taken and what would change the answer.
    pub fn finish(self) -> Result<(), ApiError> {
        for (name, value) in self.0 {
            if IGNORED.contains(&name.as_str()) || is_neutral(&name, &value) {
                continue;
            }
            let shown: String = value.to_string().chars().take(40).collect();
            return Err(ApiError::Parameter {
                code: "unsupported_parameter",
                message: format!(
                    "{name}: {shown} is not supported by this runtime; leave {name} out"
                ),
                name,
            });
        }
        Ok(())
    }
}

/// Whether a value says what is done anyway.
fn is_neutral(name: &str, value: &Value) -> bool {
    let empty = value.as_array().is_some_and(Vec::is_empty)
        || value.as_object().is_some_and(Map::is_empty)
        || value.as_str() == Some("");
    match name {
        _ if value.is_null() => true,
        "best_of" | "n" => value.as_u64() == Some(1),
        "echo" | "logprobs" | "store" => *value == Value::Bool(false),
        "frequency_penalty" | "presence_penalty" | "top_logprobs" => value.as_f64() == Some(0.0),
        "functions" | "logit_bias" | "suffix" | "tools" => empty,
        "modalities" => *value == serde_json::json!(["text"]),
        "response_format" => *value == serde_json::json!({"type": "text"}),
        "function_call" | "tool_choice" => matches!(value.as_str(), Some("none" | "auto")),
        _ => false,
    }
}

/// An error that names its parameter.
pub fn invalid(name: &str, message: &str) -> ApiError {
    ApiError::Parameter {
        name: name.to_owned(),
        code: "invalid_value",
        message: message.to_owned(),
    }
}
