//! [`HttpRunner`]: has runs carried out by an engine that speaks HTTP.

mod answer;
mod request;

use std::borrow::Cow;
use std::sync::Arc;

use async_trait::async_trait;
use ploy_webhooks::trigger::{Job, Output, RunError, TriggerRunner};
use ploy_webhooks::{Clock, Means, SystemClock};

use crate::client::{Client, Message};
use crate::excerpt::harmless;
use crate::settings::{ClientError, HttpSettings};
use crate::sign::Signer;
use crate::target::Target;

/// Carries runs out by a POST to a Ploybook engine, signed by Standard Webhooks.
///
/// A request is one attempt. When its future is dropped, its connection is closed.
#[derive(Clone, Debug)]
pub struct HttpRunner {
    client: Client,
    engine: Engine,
    clock: Arc<dyn Clock>,
}

/// Where jobs are sent.
#[derive(Clone, Debug)]
enum Engine {
    /// Where their Ploybooks say.
    OfPloybook,
    Fixed(Target),
}

impl HttpRunner {
    /// Sends each job where its Ploybook says: [`Means::Http`]. A job without a Ploybook, or with
    /// one that is run in another way, fails for good.
    ///
    /// The variable that a Ploybook names is read at each attempt. It holds a [`Signer`] in text.
    ///
    /// # Errors
    ///
    /// When the HTTP client cannot be set up.
    pub fn of_ploybooks(settings: HttpSettings) -> Result<Self, ClientError> {
        Self::new(Engine::OfPloybook, settings)
    }

    /// Sends every job there, whatever its Ploybook says.
    ///
    /// # Errors
    ///
    /// When the HTTP client cannot be set up.
    pub fn to(target: Target, settings: HttpSettings) -> Result<Self, ClientError> {
        Self::new(Engine::Fixed(target), settings)
    }

    fn new(engine: Engine, settings: HttpSettings) -> Result<Self, ClientError> {
        Ok(Self { client: Client::new(settings)?, engine, clock: Arc::new(SystemClock) })
    }

    /// Where the time comes from that is signed, and that a `Retry-After` date is compared with.
    /// Default: the machine.
    #[must_use]
    pub fn clock(self, clock: impl Clock) -> Self {
        Self { clock: Arc::new(clock), ..self }
    }

    fn target_of(&self, job: &Job) -> Result<Cow<'_, Target>, RunError> {
        if let Engine::Fixed(target) = &self.engine {
            return Ok(Cow::Borrowed(target));
        }
        let Some(ploybook) = &job.ploybook else {
            return Err(RunError::permanent(
                "there is no Ploybook that says where to send the run: put `Ploybooks` around \
                 the runner, or give it a URL",
            ));
        };
        let Means::Http { url, secret_env, .. } = &ploybook.run else {
            return Err(RunError::permanent("the Ploybook is not one that is run by HTTP"));
        };
        let target = Target::at(url).map_err(|error| {
            RunError::permanent(format!("the URL of the Ploybook cannot be used: {error}"))
        })?;
        Ok(Cow::Owned(match secret_env {
            Some(variable) => target.signed_by(signer_in(variable)?),
            None => target,
        }))
    }
}

/// The signer whose text is in that environment variable. The text is never repeated.
fn signer_in(variable: &str) -> Result<Signer, RunError> {
    let wrong = |fault: &str| {
        let variable = harmless(variable);
        RunError::permanent(format!("the environment variable `{variable}` {fault}"))
    };
    let text = std::env::var_os(variable)
        .ok_or_else(|| wrong("that is to hold the signing secret is not set"))?;
    text.to_str()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| wrong("holds no signing secret: it is `whsec_` and base64"))
}

#[async_trait]
impl TriggerRunner for HttpRunner {
    async fn run(&self, job: Job) -> Result<Output, RunError> {
        let target = self.target_of(&job)?;
        let message = Message {
            id: job.run.to_string(),
            attempt: job.attempt.get(),
            time: self.clock.now(),
            body: request::body(&job)?,
            time_limit: job.time_limit,
            refusal_bytes_max: answer::REFUSAL_BYTES_MAX,
        };
        // What waits for an engine holds the request alone.
        drop(job);
        let answer = self.client.post(&target, message).await?;
        answer::outcome(answer, &target, self.clock.now())
    }
}
