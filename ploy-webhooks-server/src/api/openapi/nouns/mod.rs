//! Schemas of what the core defines, which knows nothing of schemas: for each a type of the same
//! form, from which nothing but a schema is ever made.
#![expect(dead_code, reason = "schemas are made of these types, and values never")]

mod delivery;
mod destination;
mod endpoint;
mod ploybook;
mod problem;
mod run;
mod signature;
mod subscription;
mod text;

pub(in crate::api) use self::delivery::Record;
pub(in crate::api) use self::destination::{Destination, DestinationView};
pub(in crate::api) use self::endpoint::{
    AllowList, DedupRule, EndpointConfig, EndpointTrigger, FieldMap, Limits, Quota, Rate, Status,
    SuccessAnswer, ValueSource,
};
pub(in crate::api) use self::ploybook::{NewPloybook, Ploybook, PloybookView};
pub(in crate::api) use self::problem::Problem;
pub(in crate::api) use self::run::{RunState, Trigger};
pub(in crate::api) use self::signature::{AuthForm, SignatureScheme};
pub(in crate::api) use self::subscription::{NewSubscription, SubscriptionView};
pub(in crate::api) use self::text::{
    CredentialId, Description, DestinationId, EndpointId, EventId, EventType, Limit, Needle, Order,
    Payload, PloybookName, Retention, Revision, RunId, SHOWN, SentPayload, Slug, Stored,
    SubscriptionId, Time, TokenId, WorkspaceId, WorkspaceLimits, WorkspaceName,
};
