//! Promises about what opens the management API.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::Fixture;
use crate::clock::{Clock, SystemClock};
use crate::secret::{Secret, SecretDigest};
use crate::store::TokenStore;

/// A store begins without a root token. Of 32 claims at the same time one wins, all are told
/// which, and neither a later claim nor a restart changes it.
pub async fn one_root_token_is_set_for_good<F: Fixture>(fixture: &F) {
    let store = fixture.open().await;
    assert_eq!(root_token(&*store).await, None, "an empty store has a root token");
    let mut claims = JoinSet::new();
    let claimed: Vec<_> = (0..32).map(|_| Secret::mint_token().digest()).collect();
    for digest in claimed.clone() {
        let store = Arc::clone(&store);
        claims.spawn(async move { claim(&*store, digest).await });
    }
    let told: Vec<SecretDigest> = claims.join_all().await;
    let stands = told[0];
    assert!(claimed.contains(&stands), "the token that stands is none of those that were claimed");
    assert!(
        told.iter().all(|digest| *digest == stands),
        "claims at the same time were told different tokens"
    );
    let late = claim(&*store, Secret::mint_token().digest()).await;
    assert_eq!(late, stands, "a later claim was told another token");
    let store = fixture.reopen(store).await;
    assert_eq!(
        root_token(&*store).await,
        Some(stands),
        "another token stands than the claims were told"
    );
}

async fn claim<S: TokenStore + ?Sized>(store: &S, digest: SecretDigest) -> SecretDigest {
    let claimed = store.claim_root_token(digest, SystemClock.now()).await;
    claimed.expect("a claim gives no error")
}

async fn root_token<S: TokenStore + ?Sized>(store: &S) -> Option<SecretDigest> {
    store.root_token().await.expect("root_token gives no error")
}
