//! Makes structs, defaults and rows of one list of keys, so that none can drift from another.

/// Where the sections of a kind are in `Config`: a field, and a map for named ones.
macro_rules! place {
    ($group:ident) => {
        fn of<'a>(config: &'a Config, _: Option<&SectionName>) -> Option<&'a Self> {
            Some(&config.$group)
        }
        fn of_mut<'a>(config: &'a mut Config, _: Option<&SectionName>) -> &'a mut Self {
            &mut config.$group
        }
        fn names(_: &Config) -> Vec<&SectionName> {
            Vec::new()
        }
    };
    ($group:ident $many:ident $max:literal) => {
        fn of<'a>(config: &'a Config, name: Option<&SectionName>) -> Option<&'a Self> {
            name.map_or(Some(&config.$group), |name| config.$many.get(name))
        }
        fn of_mut<'a>(config: &'a mut Config, name: Option<&SectionName>) -> &'a mut Self {
            match name {
                None => &mut config.$group,
                Some(name) => config.$many.entry(name.clone()).or_insert_with(Self::at_defaults),
            }
        }
        fn names(config: &Config) -> Vec<&SectionName> {
            config.$many.keys().collect()
        }
    };
}

/// The struct of one kind of section with its defaults; with `= path`, that of the component to which it belongs.
macro_rules! group {
    ($(#[$doc:meta])* $Group:ident = $path:path, $place:tt {
        $($field:ident: $type:ty = $default:literal, $kind:expr, $help:literal $(, $scope:ident)?;)*
    }) => {
        pub use $path as $Group;
        group!(@table $Group, $place { $($field: $default, $kind;)* });
    };
    ($(#[$doc:meta])* $Group:ident, $place:tt {
        $($field:ident: $type:ty = $default:literal, $kind:expr, $help:literal $(, $scope:ident)?;)*
    }) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $Group {
            $(#[doc = $help] pub $field: $type,)*
        }
        group!(@table $Group, $place { $($field: $default, $kind;)* });
    };
    (@table $Group:ident, ($($place:tt)*) { $($field:ident: $default:literal, $kind:expr;)* }) => {
        impl Group for $Group {
            fn at_defaults() -> Self {
                $Group { $($field: literal($default, &$kind),)* }
            }
            place!($($place)*);
        }
    };
}

/// The scope of a key, where its row has one.
macro_rules! scope {
    () => {
        None
    };
    ($scope:ident) => {
        Some(Scope::$scope)
    };
}

/// Writes the structs, their defaults and `SECTIONS` from one list, so that none can drift from another.
/// `upstream (many upstreams 64)` stands for up to 64 sections `[upstream.NAME]` beside `[upstream]`, and with `only` for
/// named ones alone.
macro_rules! sections {
    ($($(#[$doc:meta])* $group:ident $((many $many:ident $max:literal $($only:ident)?))?: $Group:ident $(= $path:path)? {
        $($field:ident: $type:ty = $default:literal, $kind:expr, $help:literal $(, $scope:ident)?;)*
    })*) => {
        /// The effective configuration: plain values, checked.
        #[derive(Clone, Debug)]
        pub struct Config {
            $(
                $(#[$doc])* pub $group: $Group,
                $(
                    /// Named sections. If there are none, the section without a name is in use.
                    pub $many: BTreeMap<SectionName, $Group>,
                )?
            )*
            /// Where each key that is not at its default comes from, by its dotted name.
            pub origins: BTreeMap<String, Origin>,
            /// The weakest place where each named section occurs, by its kind and name.
            pub places: Places,
            /// What the environment says about proxies.
            pub proxies: ProxyEnvironment,
            /// Values that were ignored, because the command does not use their keys.
            pub ignored: Vec<Origin>,
            /// Values that were given under an old name of their key.
            pub old_names: Vec<OldName>,
            /// Places of the service's key that every user of this machine can read.
            pub exposed: Vec<Origin>,
        }

        impl Default for Config {
            fn default() -> Self {
                Config {
                    $($group: $Group::at_defaults(), $($many: BTreeMap::new(),)?)*
                    origins: BTreeMap::new(),
                    places: Places::new(),
                    proxies: ProxyEnvironment::default(),
                    ignored: Vec::new(),
                    old_names: Vec::new(),
                    exposed: Vec::new(),
                }
            }
        }

        $(group! { $(#[$doc])* $Group $(= $path)?, ($group $($many $max)?) {
            $($field: $type = $default, $kind, $help;)*
        } })*

        /// Every kind of section, in the order of the documentation.
        pub static SECTIONS: &[Section] = &[$(Section {
            kind: stringify!($group),
            named_max: 0 $(+ $max)?,
            has_unnamed: true $($(&& stringify!($only).is_empty())?)?,
            keys: &[$(Key {
                name: concat!(stringify!($group), ".", stringify!($field)),
                default: $default,
                kind: $kind,
                help: $help,
                scope: scope!($($scope)?),
                set: |config, section, text| {
                    let value = Setting::read(text, &$kind)?;
                    $Group::of_mut(config, section).$field = value;
                    Ok(())
                },
                show: |config, section| {
                    $Group::of(config, section).map(|group| group.$field.show(&$kind)).unwrap_or_default()
                },
            },)*],
            open: |config, name| {
                $Group::of_mut(config, Some(name));
            },
            names: |config| $Group::names(config),
        },)*];
    };
}
