//! Calls that go to one node in one go.

use std::sync::Arc;
use std::time::Duration;

use redis::{Pipeline, Value};

use crate::durable::Wait;
use crate::engine::{Answer, Call, Node, Via};
use crate::error::Failure;

/// A call with its answer.
pub(crate) struct Sent {
    pub(crate) number: usize,
    pub(crate) call: Call,
    pub(crate) answer: Answer,
    pub(crate) node: Option<Arc<Node>>,
}

/// The calls for one node.
pub(crate) struct Flight {
    pub(crate) node: Arc<Node>,
    /// Each with its number, and whether its script is sent before it.
    pub(crate) calls: Vec<(usize, Call, bool)>,
}

impl Flight {
    /// Sends the calls over that connection, and waits for what is waited for after writes.
    pub(crate) async fn fly(self, via: Via, wait: Option<(Wait, Duration)>) -> Vec<Sent> {
        let Self { node, calls } = self;
        let mut commands = Pipeline::with_capacity(calls.len() + 1);
        let mut sent = Vec::with_capacity(calls.len());
        for (number, mut call, is_loading) in calls {
            if let Some(script) = call.script.filter(|_| is_loading) {
                commands.add_command(script.load());
            }
            let place = commands.len();
            commands.add_command(std::mem::take(&mut call.cmd));
            sent.push((number, call, place));
        }
        if let Some((wait, at_most)) = wait {
            commands.add_command(wait.command(at_most));
        }
        let answers = node.link(via).send(&commands).await;
        let (mut answers, shortfall) = match answers {
            Ok(mut answers) => {
                let shortfall = wait.and_then(|(wait, _)| wait.shortfall(answers.pop()));
                (Ok(answers), shortfall)
            }
            Err(failure) => (Err(failure), None),
        };
        // What may have to be sent again is taken back out of what was sent.
        let mut cmds: Vec<_> = match needs_another_try(&answers) {
            true => commands.cmd_iter().cloned().map(Some).collect(),
            false => Vec::new(),
        };
        let answered = sent.into_iter().map(|(number, mut call, place)| {
            if let Some(cmd) = cmds.get_mut(place).and_then(Option::take) {
                call.cmd = cmd;
            }
            let answer = match &mut answers {
                Ok(answers) => {
                    answer(answers.get_mut(place).map(std::mem::take).unwrap_or_default())
                }
                Err(failure) => Err(failure.clone()),
            };
            let answer = match (answer, &shortfall) {
                (Ok(answer), Some(why)) => Err(Failure::NotDurable(why.clone(), Box::new(answer))),
                (answer, _) => answer,
            };
            Sent { number, call, answer, node: Some(node.clone()) }
        });
        answered.collect()
    }
}

fn needs_another_try(answers: &Result<Vec<Value>, Failure>) -> bool {
    let is_refusal = |answer: &Value| matches!(answer, Value::ServerError(_));
    answers.as_ref().is_ok_and(|answers| answers.iter().any(is_refusal))
}

/// What the server said to a call.
pub(crate) fn answer(value: Value) -> Answer {
    match value {
        Value::ServerError(error) => Err(Failure::Server(error)),
        value => Ok(value),
    }
}
