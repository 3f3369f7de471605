//! [`ChatRunner`]: has runs carried out by any endpoint that speaks OpenAI's chat completions.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use ploy_webhooks::trigger::{Job, Output, Prompt, RunError, TriggerRunner};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use serde::Deserialize;
use serde_json::json;

/// More than any model says.
const ANSWER_BYTES_MAX: usize = 4 << 20;

#[derive(Debug)]
pub(crate) struct ChatRunner {
    http: Client,
    url: String,
    model: String,
    /// Marked as sensitive: `Debug` does not print it.
    authorization: HeaderValue,
}

impl ChatRunner {
    /// Asks `{base}/chat/completions`.
    pub(crate) fn new(
        base: &str,
        key: &str,
        model: &str,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let mut authorization: HeaderValue = format!("Bearer {key}").parse()?;
        authorization.set_sensitive(true);
        Ok(Self {
            // What is meant for this endpoint, the key above all, is not carried on to another.
            http: Client::builder().redirect(Policy::none()).build()?,
            url: format!("{}/chat/completions", base.trim_end_matches('/')),
            model: model.to_owned(),
            authorization,
        })
    }
}

#[async_trait]
impl TriggerRunner for ChatRunner {
    async fn run(&self, job: Job) -> Result<Output, RunError> {
        // What the operator says is the system message. All that comes from outside is the user's,
        // between boundary lines.
        let mut prompt = Prompt::of(&job);
        let instructions = std::mem::take(&mut prompt.instructions);
        let request = json!({
            "model": self.model,
            "messages": [
                {"role": "system", "content": instructions},
                {"role": "user", "content": prompt.text()},
            ],
        });
        let answer = self
            .http
            .post(&self.url)
            .timeout(job.time_limit)
            .header(AUTHORIZATION, self.authorization.clone())
            .header(CONTENT_TYPE, "application/json")
            .body(request.to_string())
            .send()
            .await
            .map_err(|error| broken(&error))?;
        if !answer.status().is_success() {
            return Err(refusal(&answer));
        }
        said(&read(answer).await?)
    }
}

/// What the model says.
fn said(answer: &[u8]) -> Result<Output, RunError> {
    #[derive(Deserialize)]
    struct Answer {
        choices: Vec<Choice>,
    }
    #[derive(Deserialize)]
    struct Choice {
        message: Message,
    }
    #[derive(Deserialize)]
    struct Message {
        content: Option<String>,
    }
    let answer: Answer = serde_json::from_slice(answer)
        .map_err(|error| RunError::retry(format!("the answer is no chat completion: {error}")))?;
    let first = answer.choices.into_iter().next();
    let content = first.and_then(|choice| choice.message.content);
    content.map(Output::from).ok_or_else(|| RunError::retry("the model has said nothing"))
}

async fn read(mut answer: Response) -> Result<Bytes, RunError> {
    let mut read = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| broken(&error))? {
        if read.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(RunError::permanent("the answer is too long"));
        }
        read.extend_from_slice(&chunk);
    }
    Ok(read.into())
}

/// What a status means that is no success. What the endpoint says about it is left out: it may
/// repeat the key.
fn refusal(answer: &Response) -> RunError {
    let status = answer.status();
    let message = format!("the chat endpoint answered {status}");
    if !status.is_server_error() && !matches!(status.as_u16(), 408 | 409 | 425 | 429) {
        return RunError::permanent(message);
    }
    // As chat endpoints say it, in seconds. `ploy-webhooks-delivery` knows dates as well.
    let seconds = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    match seconds.and_then(|text| text.trim().parse().ok()) {
        Some(seconds) => RunError::retry_after(message, Duration::from_secs(seconds)),
        None => RunError::retry(message),
    }
}

/// No answer, or no end of it.
fn broken(error: &reqwest::Error) -> RunError {
    let fault = match error {
        _ if error.is_timeout() => "does not answer in time",
        _ if error.is_connect() => "cannot be connected to",
        _ => "does not answer to the end",
    };
    RunError::retry(format!("the chat endpoint {fault}"))
}
