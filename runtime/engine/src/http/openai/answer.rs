//! Bodies of OpenAI's API.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::work::{Finish, Usage};

/// What was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Chat,
    Completion,
}

/// What all bodies of one answer share.
#[derive(Debug, Clone)]
pub struct Head {
    form: Form,
    id: String,
    created: u64,
    model: String,
    include_usage: bool,
}

impl Head {
    pub fn new(form: Form, model: &str, include_usage: bool) -> Self {
        let prefix = match form {
            Form::Chat => "chatcmpl",
            Form::Completion => "cmpl",
        };
        let created = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            form,
            id: format!("{prefix}-{:016x}", rand::random::<u64>()),
            created: created.unwrap_or_default().as_secs(),
            model: model.to_owned(),
            include_usage,
        }
    }

    fn body(&self, object: &str, choices: &Value) -> Value {
        json!({"id": self.id, "object": object, "created": self.created, "model": self.model, "choices": choices})
    }

    /// The whole answer.
    pub fn whole(&self, text: &str, finish: Finish, usage: Usage) -> Value {
        let finish = finish_reason(finish);
        let (object, choice) = match self.form {
            Form::Chat => (
                "chat.completion",
                json!({"index": 0, "message": {"role": "assistant", "content": text}, "logprobs": null, "finish_reason": finish}),
            ),
            Form::Completion => (
                "text_completion",
                json!({"index": 0, "text": text, "logprobs": null, "finish_reason": finish}),
            ),
        };
        let mut body = self.body(object, &json!([choice]));
        body["usage"] = usage_body(usage);
        body
    }

    fn chunk(&self, choices: &Value) -> Value {
        let object = match self.form {
            Form::Chat => "chat.completion.chunk",
            Form::Completion => "text_completion",
        };
        let mut body = self.body(object, choices);
        if self.include_usage {
            body["usage"] = Value::Null;
        }
        body
    }

    fn delta(&self, delta: &Value, text: &str, finish: Option<Finish>) -> Value {
        let finish = finish.map(finish_reason);
        let choice = match self.form {
            Form::Chat => {
                json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish})
            }
            Form::Completion => {
                json!({"index": 0, "text": text, "logprobs": null, "finish_reason": finish})
            }
        };
        self.chunk(&json!([choice]))
    }

    /// Says who speaks; a completion says nothing.
    pub fn role(&self) -> Option<Value> {
        let role = json!({"role": "assistant", "content": ""});
        (self.form == Form::Chat).then(|| self.delta(&role, "", None))
    }

    /// The next piece of the answer.
    pub fn piece(&self, text: &str) -> Value {
        self.delta(&json!({"content": text}), text, None)
    }

    /// Why the answer ended.
    pub fn end(&self, finish: Finish) -> Value {
        self.delta(&json!({}), "", Some(finish))
    }

    /// The last chunk, where it was asked for.
    pub fn usage(&self, usage: Usage) -> Option<Value> {
        self.include_usage.then(|| {
            let mut body = self.chunk(&json!([]));
            body["usage"] = usage_body(usage);
            body
        })
    }
}

fn finish_reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "stop",
        Finish::Length => "length",
    }
}

fn usage_body(usage: Usage) -> Value {
    json!({
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    })
}
