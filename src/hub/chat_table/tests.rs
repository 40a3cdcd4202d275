//! The rules of the table as examples, and as properties against a simple model.
use super::*;
use crate::chat::ChatId;
use proptest::prelude::*;

fn key(principal: u128, chat: u64) -> ChatKey {
    ChatKey { principal: Principal::new(principal), chat: ChatId::new(&format!("c{chat}")).unwrap() }
}

fn table(chats: usize, per_principal: usize) -> ChatTable<SessionId> {
    ChatTable::new(ChatLimits { chats, per_principal })
}

/// Does what the registry does for a question: returns the chat's session, and the evicted one if any.
fn ask(
    table: &mut ChatTable<SessionId>,
    key: &ChatKey,
    source: Source,
    fresh: SessionId,
) -> Result<(SessionId, Option<SessionId>), NoRoom> {
    if let Some((session, _)) = table.send_to(key, Some(source)) {
        return Ok((session, None));
    }
    let evicted = table.make_room(key.principal, source)?;
    table.insert(key.clone(), fresh, source, fresh);
    Ok((fresh, evicted))
}

// faults: K139
#[test]
fn one_source_fills_the_table_and_ten_others_still_get_chats() {
    let flooder = Source::numbered(0);
    let mut table = table(1_000, 100);
    let mut next = 0;
    let mut turn = |table: &mut ChatTable<SessionId>, key: &ChatKey, source, rests| {
        next += 1;
        let (session, evicted) = ask(table, key, source, SessionId(next as u128)).unwrap();
        table.report(key, session, Occupancy::InUse);
        table.delivered(key, session);
        table.report(key, session, rests);
        (session, evicted)
    };
    // A new cookie for each hundred chats; every answer is still kept.
    let floods: Vec<_> = (0..1_000).map(|n| key(u128::from(n / 100), n)).collect();
    for flood in &floods {
        assert_eq!(turn(&mut table, flood, flooder, Occupancy::Retained).1, None);
    }
    let mut expected = 1..;
    for round in 0..3 {
        for user in 1..=10 {
            let own = key(1_000 + u128::from(user), round);
            let (_, evicted) = turn(&mut table, &own, Source::numbered(user), Occupancy::Quiet);
            assert_eq!(evicted.map(|session| session.0), expected.next(), "the flooder's oldest goes");
        }
        // The flooder goes on, and pays for it itself.
        for n in 0..100 {
            let flood = key(2_000 + u128::from(round), n);
            let (_, evicted) = turn(&mut table, &flood, flooder, Occupancy::Retained);
            assert_eq!(evicted.map(|session| session.0), expected.next());
        }
    }
    for user in 1..=10 {
        assert_eq!(table.chats_of(Source::numbered(user)), 3);
        assert!((0..3).all(|round| table.get(&key(1_000 + u128::from(user), round)).is_some()));
    }
    assert_eq!((table.len(), table.chats_of(flooder)), (1_000, 970));
}

#[test]
fn a_chat_that_was_just_looked_up_is_not_evicted() {
    let mut table = table(1, 1);
    let (one, two) = (Source::numbered(1), Source::numbered(2));
    let (a, b) = (key(1, 1), key(2, 1));
    ask(&mut table, &a, one, SessionId(1)).unwrap();
    table.report(&a, SessionId(1), Occupancy::Quiet);
    assert_eq!(ask(&mut table, &b, two, SessionId(2)), Err(NoRoom), "its question is on its way");
    table.delivered(&a, SessionId(1));
    table.send_to(&a, None);
    // The session does not know of the second request yet.
    table.report(&a, SessionId(1), Occupancy::Quiet);
    assert_eq!(table.evict_of(one), None);
    table.delivered(&a, SessionId(1));
    assert_eq!(ask(&mut table, &b, two, SessionId(2)), Ok((SessionId(2), Some(SessionId(1)))));
    // Late reports of the evicted session change nothing.
    table.report(&a, SessionId(1), Occupancy::Quiet);
    table.delivered(&b, SessionId(1));
    assert_eq!(table.remove(&b, SessionId(1)), None);
    assert_eq!((table.len(), table.evict_of(two)), (1, None));
}

// faults: K139
#[test]
fn a_slow_subscriber_keeps_no_chat_from_a_source_with_fewer() {
    let mut table = table(4, 9);
    let (slow, other) = (Source::numbered(1), Source::numbered(2));
    for chat in 1..=4 {
        ask(&mut table, &key(1, chat), slow, SessionId(u128::from(chat))).unwrap();
        table.delivered(&key(1, chat), SessionId(u128::from(chat)));
        table.report(&key(1, chat), SessionId(u128::from(chat)), Occupancy::Unread);
    }
    assert_eq!(ask(&mut table, &key(2, 1), slow, SessionId(5)), Err(NoRoom), "not for its own source");
    assert_eq!(ask(&mut table, &key(3, 1), other, SessionId(6)), Ok((SessionId(6), Some(SessionId(1)))));
    table.report(&key(1, 4), SessionId(4), Occupancy::Retained);
    assert_eq!(ask(&mut table, &key(3, 2), other, SessionId(7)), Ok((SessionId(7), Some(SessionId(4)))));
    assert_eq!(ask(&mut table, &key(3, 3), other, SessionId(8)), Err(NoRoom), "both have two");
}

#[test]
fn a_chat_counts_for_the_source_of_its_last_question() {
    let mut table = table(9, 9);
    let (home, train) = (Source::numbered(1), Source::numbered(2));
    let chat = key(1, 1);
    ask(&mut table, &chat, home, SessionId(1)).unwrap();
    table.send_to(&chat, None);
    assert_eq!((table.chats_of(home), table.chats_of(train)), (1, 0), "following does not move a chat");
    ask(&mut table, &chat, train, SessionId(2)).unwrap();
    assert_eq!((table.chats_of(home), table.chats_of(train)), (0, 1));
}

#[test]
fn at_the_limit_of_a_principal_its_own_idle_chat_is_evicted_and_never_a_retained_answer() {
    let mut table = table(9, 2);
    let source = Source::numbered(1);
    for chat in 1..=2 {
        ask(&mut table, &key(1, chat), source, SessionId(u128::from(chat))).unwrap();
        table.delivered(&key(1, chat), SessionId(u128::from(chat)));
        table.report(&key(1, chat), SessionId(u128::from(chat)), Occupancy::Retained);
    }
    assert_eq!(ask(&mut table, &key(1, 3), source, SessionId(3)), Err(NoRoom));
    assert!(ask(&mut table, &key(2, 1), source, SessionId(4)).is_ok(), "others are not concerned");
    table.report(&key(1, 2), SessionId(2), Occupancy::Quiet);
    assert_eq!(ask(&mut table, &key(1, 3), source, SessionId(3)), Ok((SessionId(3), Some(SessionId(2)))));
}

/// The model's record of a chat.
#[derive(Clone, Debug)]
struct Known {
    key: ChatKey,
    session: SessionId,
    source: Source,
    occupancy: Occupancy,
    in_flight: u32,
    since: u64,
}

impl Known {
    fn is_idle(&self) -> bool {
        self.in_flight == 0 && self.occupancy != Occupancy::InUse
    }
}

#[derive(Default)]
struct Model {
    chats: Vec<Known>,
    time: u64,
}

impl Model {
    fn at(&mut self, key: &ChatKey) -> Option<&mut Known> {
        self.chats.iter_mut().find(|known| known.key == *key)
    }

    fn change(&mut self, key: &ChatKey, change: impl FnOnce(&mut Known)) {
        self.time += 1;
        let time = self.time;
        if let Some(known) = self.at(key) {
            let was_idle = known.is_idle();
            change(known);
            if !was_idle {
                known.since = time;
            }
        }
    }

    fn places(&self, source: Source) -> usize {
        self.chats.iter().filter(|known| known.source == source).count()
    }

    /// The chat to evict: of the source with the most chats, in eviction order.
    fn victim(&self, of: impl Fn(&Known) -> bool) -> Option<SessionId> {
        let idle = self.chats.iter().filter(|known| known.is_idle() && of(known));
        let least = |known: &&Known| (Reverse(self.places(known.source)), known.occupancy, known.since);
        idle.min_by_key(least).map(|known| known.session)
    }

    fn asked(
        &mut self,
        key: &ChatKey,
        source: Source,
        fresh: SessionId,
        limits: ChatLimits,
    ) -> Result<(), NoRoom> {
        self.time += 1;
        if self.at(key).is_some() {
            self.change(key, |known| (known.in_flight, known.source) = (known.in_flight + 1, source));
            return Ok(());
        }
        let owner = key.principal;
        if self.chats.iter().filter(|known| known.key.principal == owner).count() >= limits.per_principal {
            let own = |known: &Known| known.key.principal == owner && known.occupancy == Occupancy::Quiet;
            let idle = self.chats.iter().filter(|known| known.is_idle() && own(known));
            let victim = idle.min_by_key(|known| known.since).map(|known| known.session).ok_or(NoRoom)?;
            self.chats.retain(|known| known.session != victim);
        } else if self.chats.len() >= limits.chats {
            let victim = self.victim(|_| true).ok_or(NoRoom)?;
            let known = self.chats.iter().find(|known| known.session == victim).unwrap();
            if known.occupancy == Occupancy::Unread && self.places(known.source) < self.places(source) + 2 {
                return Err(NoRoom);
            }
            self.chats.retain(|known| known.session != victim);
        }
        let (key, occupancy) = (key.clone(), Occupancy::InUse);
        self.chats.push(Known { key, session: fresh, source, occupancy, in_flight: 1, since: 0 });
        Ok(())
    }
}

fn sessions(table: &ChatTable<SessionId>) -> BTreeSet<u128> {
    table.chats.iter().map(|(_, chat)| chat.session.0).collect()
}

proptest! {
    /// It holds what the model holds: limits are kept, only idle chats go, of the largest source, and in order.
    #[test]
    fn it_does_what_the_model_does(
        chats in 1..8usize,
        per_principal in 1..5usize,
        steps in prop::collection::vec((0..9u8, 0..4u128, 0..4u64, 0..4u64), 1..300),
    ) {
        let limits = ChatLimits { chats, per_principal };
        let (mut table, mut model) = (table(chats, per_principal), Model::default());
        for (at, (step, principal, chat, source)) in steps.into_iter().enumerate() {
            let (key, source) = (key(principal, chat), Source::numbered(source));
            let session = model.at(&key).map_or(SessionId(u128::MAX), |known| known.session);
            match step {
                0..=2 => {
                    let fresh = SessionId(at as u128);
                    let outcome = ask(&mut table, &key, source, fresh).map(|_| ());
                    prop_assert_eq!(outcome, model.asked(&key, source, fresh, limits));
                }
                3 => {
                    let found = table.send_to(&key, None).map(|(session, _)| session);
                    prop_assert_eq!(found, model.at(&key).map(|known| known.session));
                    model.change(&key, |known| known.in_flight += 1);
                }
                4..=5 => {
                    table.delivered(&key, session);
                    model.change(&key, |known| known.in_flight = known.in_flight.saturating_sub(1));
                }
                6..=7 => {
                    let all = [Occupancy::Quiet, Occupancy::Retained, Occupancy::Unread, Occupancy::InUse];
                    let occupancy = all[at % 4];
                    table.report(&key, session, occupancy);
                    model.change(&key, |known| known.occupancy = occupancy);
                }
                _ if at % 2 == 0 => {
                    let victim = model.victim(|known| known.source == source);
                    prop_assert_eq!(table.evict_of(source), victim);
                    model.chats.retain(|known| Some(known.session) != victim);
                }
                _ => {
                    prop_assert_eq!(table.remove(&key, session).is_some(), model.at(&key).is_some());
                    model.chats.retain(|known| known.key != key);
                }
            }
            prop_assert!(table.len() <= chats);
            let held: BTreeSet<u128> = model.chats.iter().map(|known| known.session.0).collect();
            prop_assert_eq!(sessions(&table), held);
            let idle = model.chats.iter().filter(|known| known.is_idle());
            prop_assert_eq!(table.idle_by_source.len(), idle.count());
        }
        // Every chat can be removed, and the indexes are then empty.
        for known in model.chats {
            prop_assert!(table.remove(&known.key, known.session).is_some());
        }
        prop_assert!(table.is_empty() && table.slots.is_empty() && table.owners.is_empty());
        prop_assert!(table.sources.is_empty() && table.idle_by_source.is_empty());
        prop_assert!(table.quiet_by_owner.is_empty() && table.by_count.is_empty());
    }

    /// While one source has more chats than every other, new chats of others are accepted at the expense of
    /// its idle chats, and none of theirs is evicted.
    #[test]
    fn the_largest_source_pays(
        users in 1..6u64,
        each in 1..4u64,
        busy in 0..8u64,
        more in prop::collection::vec((any::<bool>(), 0..6u64), 1..60),
    ) {
        let limits = 40;
        let mut table = table(limits, usize::MAX);
        let mut next = 0;
        let mut turn = |table: &mut ChatTable<SessionId>, source: u64, rests| {
            next += 1;
            let key = key(u128::from(source), next);
            let made = ask(table, &key, Source::numbered(source), SessionId(u128::from(next)));
            if made.is_ok() {
                table.delivered(&key, SessionId(u128::from(next)));
                table.report(&key, SessionId(u128::from(next)), rests);
            }
            made
        };
        for user in 1..=users {
            for _ in 0..each {
                turn(&mut table, user, Occupancy::Quiet).unwrap();
            }
        }
        for n in 0..limits as u64 {
            let rests = if n < busy { Occupancy::InUse } else { Occupancy::Retained };
            turn(&mut table, 0, rests).unwrap();
        }
        let is_users = |table: &ChatTable<SessionId>| -> Vec<usize> {
            (1..=users).map(|user| table.chats_of(Source::numbered(user))).collect()
        };
        for (floods, user) in more {
            let before = is_users(&table);
            let largest = *before.iter().max().unwrap();
            if table.chats_of(Source::numbered(0)) <= largest.max(busy as usize) {
                break; // It is not the largest any more, or all that it has is in use.
            }
            if floods {
                prop_assert!(turn(&mut table, 0, Occupancy::Retained).is_ok());
                prop_assert_eq!(is_users(&table), before);
                continue;
            }
            let user = 1 + user % users;
            prop_assert!(turn(&mut table, user, Occupancy::Quiet).is_ok());
            let mut expected = before;
            expected[user as usize - 1] += 1;
            prop_assert_eq!(is_users(&table), expected);
        }
    }
}
