//! What is wrong with collateral that is signed as it must be: older than what was held, gone, or out of date.

use chrono::{DateTime, Utc};

use super::Collateral;

impl Collateral {
    /// The first list or statement here that was issued before the one of the same kind in `held`, in words.
    ///
    /// An older list is signed as well as a newer one, and forgets whatever was revoked between the two.
    pub fn predates(&self, held: &Self) -> Option<String> {
        let before = held.issued();
        self.issued().into_iter().find_map(|(what, issued)| {
            let (_, newer) = before
                .iter()
                .find(|(other, at)| *other == what && *at > issued)?;
            Some(format!("{what} is of {issued}, older than that of {newer}"))
        })
    }

    /// The first revocation list of `held` that is not here, in words: without it nothing is known to be revoked.
    pub fn lacks(&self, held: &Self) -> Option<String> {
        let own = self.lists();
        let is_lost = |list: &String| !own.iter().any(|(other, _)| other == list);
        let lost = held.lists().into_iter().map(|(list, _)| list).find(is_lost);
        lost.map(|list| format!("{list} is gone"))
    }

    /// The first of AMD's revocation lists that is not in date, in words: with it all evidence of its product is refused.
    pub fn outdated(&self, now: DateTime<Utc>) -> Option<String> {
        let lists = self.snp.lists().iter();
        let mut outdated = lists.filter(|(_, _, list)| !list.is_current(now));
        let (product, kind, list) = outdated.next()?;
        Some(format!(
            "AMD's revocation list of {product:?} for its {kind:?} is for {}",
            list.period()
        ))
    }

    /// All that is signed with a date and replaced from time to time: what it is, and when it was issued.
    fn issued(&self) -> Vec<(String, DateTime<Utc>)> {
        let statements = self.tdx.iter().map(|(fmspc, statement)| {
            let what = format!("Intel's TCB information for {fmspc}");
            (what, statement.issued_at())
        });
        self.lists().into_iter().chain(statements).collect()
    }

    fn lists(&self) -> Vec<(String, DateTime<Utc>)> {
        let amd = self.snp.lists().iter().map(|(product, kind, list)| {
            let what = format!("AMD's revocation list of {product:?} for its {kind:?}");
            (what, list.this_update())
        });
        let simulated = self.simulated.iter().map(|(root, list)| {
            let what = format!("the revocation list of the simulated root {root}");
            (what, list.this_update)
        });
        amd.chain(simulated).collect()
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::SimulatedRoot;

    fn collateral(seed: u8, days: i64) -> Collateral {
        let issued = DateTime::from_timestamp(1_795_000_000, 0).unwrap() + TimeDelta::days(days);
        let root = SimulatedRoot::from_seed(&[seed; 32]);
        let list = root
            .revoke([], issued, issued + TimeDelta::days(9))
            .unwrap();
        let mut collateral = Collateral::empty();
        collateral.put("simulated/a.crl", &list).unwrap();
        collateral
    }

    #[test]
    fn an_older_list_and_a_lost_one_are_told_from_newer_and_further_ones() {
        let held = collateral(1, 2);
        assert_eq!(collateral(1, 2).predates(&held), None);
        assert_eq!(collateral(1, 3).predates(&held), None);
        let older = collateral(1, 1).predates(&held).unwrap();
        assert!(older.contains("older than that of"), "{older}");
        assert_eq!(collateral(1, 1).lacks(&held), None);
        // Another root's list says nothing of this one.
        assert_eq!(collateral(2, 1).predates(&held), None);
        for without in [collateral(2, 3), Collateral::empty()] {
            let lost = without.lacks(&held).unwrap();
            assert!(lost.ends_with("is gone"), "{lost}");
        }
        assert_eq!(held.lacks(&Collateral::empty()), None);
    }
}
