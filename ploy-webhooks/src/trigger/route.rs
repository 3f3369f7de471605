//! How a route is decided: its rules are tried in order, and the first whose condition holds is
//! followed.

use super::ploybooks::Ploybooks;
use super::runner::{Job, Output, RunError, TriggerRunner};
use crate::run::Route;
use crate::store::{DefinitionStore, EndpointStore, RunQueue};

impl<S, R> Ploybooks<S, R>
where
    S: DefinitionStore + EndpointStore + RunQueue,
    R: TriggerRunner,
{
    pub(super) async fn decide(&self, _job: &Job, _route: &Route) -> Result<Output, RunError> {
        Err(RunError::permanent("to come"))
    }
}
