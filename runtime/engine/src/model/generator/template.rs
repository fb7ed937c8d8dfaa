//! The chat template: messages in, the prompt that the model was trained on out. Jinja, as the artifact brings it.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind, UndefinedBehavior, context};
use serde::Serialize;

use crate::model::ModelError;

const NAME: &str = "chat";
/// Steps of the template's interpreter: a template is other people's program.
const FUEL: u64 = 1_000_000;

/// Who says something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    System,
    User,
    Assistant,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    pub role: Role,
    pub content: String,
}

pub struct ChatTemplate {
    environment: Environment<'static>,
    begin_token: String,
    end_token: String,
}

impl ChatTemplate {
    pub fn new(source: String, begin_token: String, end_token: String) -> Result<Self, ModelError> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Lenient);
        environment.set_fuel(Some(FUEL));
        // What templates are written for: blocks leave no lines behind.
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build()
            .map_err(|error| ModelError::Template(error.to_string()))?;
        environment.set_syntax(syntax);
        environment.add_function("raise_exception", raise);
        environment
            .add_template_owned(NAME, source)
            .map_err(|error| ModelError::Template(format!("{error:#}")))?;
        Ok(Self {
            environment,
            begin_token,
            end_token,
        })
    }

    /// The prompt for the next answer, or why the template takes no such messages.
    pub fn render(&self, messages: &[Message]) -> Result<String, String> {
        let template = self.environment.get_template(NAME);
        let values = context! {
            messages => Serde(messages),
            add_generation_prompt => true,
            bos_token => &self.begin_token,
            eos_token => &self.end_token,
        };
        template
            .and_then(|template| template.render(values))
            .map_err(|error| error.detail().unwrap_or("it fails").to_owned())
    }
}

/// What templates call to refuse messages, such as roles that do not alternate.
fn raise(message: String) -> Result<String, minijinja::Error> {
    Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(source: &str) -> ChatTemplate {
        ChatTemplate::new(source.into(), "<s>".into(), "</s>".into()).unwrap()
    }

    fn user(content: &str) -> Message {
        Message {
            role: Role::User,
            content: content.into(),
        }
    }

    #[test]
    fn a_template_sees_messages_and_tokens() {
        let template = template(
            "{{ bos_token }}{% for message in messages %}[{{ message['role'] }}]{{ message['content'] }}{{ eos_token }}{% endfor %}\n{% if add_generation_prompt %}\n[assistant]{% endif %}\n",
        );
        assert_eq!(
            template.render(&[user("{{ 1 + 1 }}")]).unwrap(),
            "<s>[user]{{ 1 + 1 }}</s>[assistant]"
        );
    }

    #[test]
    fn a_refusal_of_the_template_is_told() {
        let template = template("{{ raise_exception('roles must alternate') }}");
        assert_eq!(
            template.render(&[user("x")]),
            Err("roles must alternate".into())
        );
    }

    #[test]
    fn a_template_that_never_ends_is_stopped() {
        let template = template(
            "{% for a in range(10000) %}{% for b in range(10000) %}x{% endfor %}{% endfor %}",
        );
        assert!(template.render(&[user("x")]).is_err());
    }

    #[test]
    fn a_broken_template_is_refused_at_start() {
        let broken = ChatTemplate::new("{% for %}".into(), String::new(), String::new());
        assert!(matches!(broken, Err(ModelError::Template(_))));
    }
}
