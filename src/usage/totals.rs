//! Tokens since the daemon's start by provider and model, for monitoring. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use super::rows::OTHER;
use super::tokens::TokenCounts;

/// How many models have their own total, over all providers; answers of others share one per provider. Each is a time
/// series for good, and a name takes its place only with an answer that has a token count.
const MOST_MODELS: usize = 50;

/// By the model's name.
type TokensByModel = HashMap<Box<str>, TokenCounts>;

/// The totals.
#[derive(Debug, Default)]
pub(super) struct Totals {
    /// Providers are few, and mostly the first one is meant.
    providers: Vec<(Arc<str>, TokensByModel)>,
    models: usize,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Total {
    /// The provider's name.
    pub provider: Arc<str>,
    /// The model as requests name it, or `(other)`.
    pub model: Box<str>,
    /// Its tokens.
    pub tokens: TokenCounts,
}

impl Totals {
    pub(super) fn add(&mut self, provider: &Arc<str>, model: &str, tokens: TokenCounts) {
        let known = self.providers.iter().position(|(one, _)| one == provider);
        let at = known.unwrap_or_else(|| {
            self.providers.push((provider.clone(), HashMap::new()));
            self.providers.len() - 1
        });
        let Some((_, models)) = self.providers.get_mut(at) else {
            return;
        };
        if let Some(total) = models.get_mut(model) {
            *total += tokens;
        } else if self.models < MOST_MODELS {
            self.models += 1;
            models.insert(model.into(), tokens);
        } else {
            *models.entry(OTHER.into()).or_default() += tokens;
        }
    }

    /// All of them, in no order.
    pub(super) fn all(&self) -> Vec<Total> {
        let providers = self.providers.iter();
        let all = providers.flat_map(|(provider, models)| {
            models.iter().map(|(model, tokens)| Total {
                provider: provider.clone(),
                model: model.clone(),
                tokens: *tokens,
            })
        });
        all.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_total_of_its_own_is_in_the_other_one() {
        let providers: [Arc<str>; 2] = ["nous".into(), "xai".into()];
        let one = TokenCounts {
            prompt: 3,
            ..TokenCounts::default()
        };
        let mut totals = Totals::default();
        for number in 0..1000 {
            for provider in &providers {
                totals.add(provider, &format!("model-{}", number % 500), one);
            }
        }
        let all = totals.all();
        assert_eq!(all.len(), MOST_MODELS + providers.len());
        let sum: u64 = all.iter().map(|total| total.tokens.prompt).sum();
        assert_eq!(sum, 6000);
        for provider in providers {
            let mut own = all.iter().filter(|total| total.provider == provider);
            let other = own.find(|total| &*total.model == OTHER).unwrap();
            assert_eq!(other.tokens.prompt, 3 * (1000 - 2 * 25));
        }
    }
}
