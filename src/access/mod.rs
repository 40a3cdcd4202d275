//! Authentication: turns a request's credential into a pass, once, before a WebSocket is opened and for HTTP
//! alike.
pub mod cookie;

use crate::chat::{FairShareKey, Principal, Source};
use std::sync::Arc;

/// The identity that a client acts under. Created once per request and shared by its connection and
/// everything that the connection starts, down to the run.
#[derive(Debug, PartialEq, Eq)]
pub struct Pass {
    principal: Principal,
    source: Source,
}

/// The credential of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Credential {
    /// The cookie of a returning browser.
    Cookie(Principal),
    /// No credential: a new browser, or a program that keeps no cookies.
    Nothing,
}

/// Why a request is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// A principal with less randomness could be guessed.
    #[error("the operating system has no randomness for a cookie")]
    NoRandomness,
}

impl Pass {
    pub fn new(principal: Principal, source: Source) -> Arc<Self> {
        Arc::new(Pass { principal, source })
    }

    /// The pass for a credential presented from `source`. A client without one becomes a new principal;
    /// `fill` provides its random bytes.
    ///
    /// # Errors
    /// There is no randomness.
    pub fn of<E>(
        credential: &Credential,
        source: Source,
        fill: impl FnMut(&mut [u8]) -> Result<(), E>,
    ) -> Result<Arc<Self>, Denied> {
        let principal = match credential {
            Credential::Cookie(principal) => *principal,
            Credential::Nothing => cookie::new_principal(fill).map_err(|_| Denied::NoRandomness)?,
        };
        Ok(Pass::new(principal, source))
    }

    /// The owner of the client's chats.
    pub fn principal(&self) -> Principal {
        self.principal
    }

    /// The network of the client.
    pub fn source(&self) -> Source {
        self.source
    }

    /// The key by which run slots and queue positions are shared.
    pub fn fair_share_key(&self) -> FairShareKey {
        FairShareKey::of_network(self.source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_clients_without_a_credential_are_two_principals() {
        let mut random = fastrand::Rng::with_seed(5);
        let mut fill = |bytes: &mut [u8]| {
            random.fill(bytes);
            Ok::<(), ()>(())
        };
        let source = Source::numbered(7);
        let one = Pass::of(&Credential::Nothing, source, &mut fill).unwrap();
        let two = Pass::of(&Credential::Nothing, source, &mut fill).unwrap();
        assert_ne!(one.principal(), two.principal());
        // Anonymous clients behind one address share a key.
        assert_eq!(one.fair_share_key(), two.fair_share_key());
        let back = Pass::of(&Credential::Cookie(one.principal()), Source::numbered(8), &mut fill).unwrap();
        assert_eq!(back.principal(), one.principal());
        assert_ne!(back.fair_share_key(), one.fair_share_key());
    }

    #[test]
    fn without_randomness_only_those_with_a_cookie_get_a_pass() {
        let dry = |_: &mut [u8]| Err(());
        let known = Principal::new(0x5eed);
        let of = |credential| Pass::of(&credential, Source::default(), dry).map(|pass| pass.principal());
        assert_eq!(of(Credential::Nothing), Err(Denied::NoRandomness));
        assert_eq!(of(Credential::Cookie(known)), Ok(known));
    }

    #[test]
    fn a_pass_does_not_print_its_principal() {
        let pass = Pass::new(Principal::new(0x1234_5678), Source::default());
        assert!(!format!("{pass:?}").contains(&0x1234_5678.to_string()));
        assert!(format!("{pass:?}").contains("***"));
    }
}
