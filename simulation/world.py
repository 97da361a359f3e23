"""The population: users with tastes, videos with authors, and the calendar they live in.

Nothing here changes while users play; what changes is :class:`simulation.behaviour.UserState`. Shapes: U users,
V videos, N candidates, C categories, F latent dimensions of taste, A authors.
"""

from __future__ import annotations

import dataclasses
import datetime

import numpy as np
import pyarrow as pa

from components.settings import to_epoch_ms
from simulation.arrays import Floats, Ints
from simulation.settings import Platform, Simulation

DAY_MS = 86_400_000

#: Authors a user follows.
NUM_FOLLOWED = 10

AGE_BANDS = ("12-17", "18-24", "25-34", "35-44", "45-54", "55+")
REGIONS = ("north", "east", "south", "west", "central", "coast", "islands", "abroad")
DEVICES = ("phone_basic", "phone_middle", "phone_premium", "tablet")
ACTIVITIES = ("growth", "maturity", "recession", "low")

_CATEGORY_NAMES = (
    *("comedy", "music", "dance", "food", "sports", "games", "news", "beauty", "travel", "pets"),
    *("family", "science", "cars", "crafts", "film", "fashion", "fitness", "nature", "school", "finance"),
)

#: Impatience (log-odds of a glance) that goes with an age band, and with a device.
_AGE_IMPATIENCE = np.array([0.5, 0.4, 0.1, -0.1, -0.3, -0.5])
_DEVICE_IMPATIENCE = np.array([0.25, 0.0, -0.1, -0.3])
#: Sessions per day, relative, and their growth over the log (log ratio of last to first day), by activity.
_ACTIVITY_RATE = np.array([1.0, 1.6, 1.0, 0.5])
_ACTIVITY_TREND = np.array([0.8, 0.0, -0.8, 0.0])


@dataclasses.dataclass(frozen=True)
class Users:
    """The users' lasting traits; codes index the tuples of names above."""

    age_band: Ints  # [U]
    region: Ints  # [U]
    device: Ints  # [U]
    activity: Ints  # [U]
    taste: Floats  # [U, C] liking of each category, about standard normal
    latent: Floats  # [U, F] taste beside the categories
    impatience: Floats  # [U] log-odds of a glance that the user adds
    attention: Floats  # [U] log of how much longer than others the user stays once caught
    session_rate: Floats  # [U] sessions per day, relative to other users
    session_trend: Floats  # [U] log ratio of that rate between the last day and the first
    wakes_late: Floats  # [U] hours by which the user's day is shifted
    platform_share: Floats  # [U, platforms] share of the user's sessions
    followed: Ints  # [U, NUM_FOLLOWED] authors


@dataclasses.dataclass(frozen=True)
class Videos:
    """The videos; those of one author stand together in ``by_author``."""

    author: Ints  # [V]
    category: Ints  # [V]
    music: Ints  # [V]
    duration_ms: Ints  # [V]
    quality: Floats  # [V] appeal to everybody; 0 on average over what popularity shows
    latent: Floats  # [V, F]
    popularity: Floats  # [V] sums to 1
    upload_ms: Ints  # [V]
    by_author: Ints  # [V] videos sorted by author
    author_start: Ints  # [A + 1] where each author begins in ``by_author``


@dataclasses.dataclass(frozen=True)
class World:
    """The population and its settings."""

    settings: Simulation
    users: Users
    videos: Videos
    day_edges_ms: Ints  # [days + 1] first instants of the local days, and the end

    @property
    def platforms(self) -> list[Platform]:
        """The platforms in the order of their codes."""
        return list(self.settings.platforms.values())

    def of_platform(self, field: str) -> Floats:
        """One numeric setting of every platform [platforms], to be indexed by platform code."""
        return np.array([getattr(p, field) for p in self.platforms], np.float64)

    def day_of(self, time_ms: Ints) -> Ints:
        """The local day of each time; times outside the log count to its first or last day."""
        days = np.searchsorted(self.day_edges_ms, time_ms, side="right") - 1
        return np.clip(days, 0, len(self.day_edges_ms) - 2).astype(np.int64)

    def local_hour(self, time_ms: Ints) -> Floats:
        """Hours since the local day began."""
        return (time_ms - self.day_edges_ms[self.day_of(time_ms)]) / 3_600_000

    def appeal(self, users: Ints, videos: Ints) -> Floats:
        """How well the videos match the users' lasting taste: quality plus taste, about standard normal.

        Args:
            users: Indices of users [U].
            videos: Indices of videos [U] or [U, N].

        Returns:
            Appeal, shaped like ``videos``.
        """
        rows = users if videos.ndim == 1 else users[:, None]
        categories = self.users.taste[rows, self.videos.category[videos]]
        subscripts = "uf,uf->u" if videos.ndim == 1 else "uf,unf->un"
        latent = np.einsum(subscripts, self.users.latent[users], self.videos.latent[videos])
        taste = 0.7 * categories + 0.6 * latent
        return self.videos.quality[videos] + self.settings.behaviour.taste_strength * taste


def make_world(settings: Simulation) -> World:
    """The population of these settings; it depends on the seed and the sizes, not on the number of plays."""
    rng = np.random.default_rng([settings.seed, 0])
    dates = [settings.first_day + datetime.timedelta(days=n) for n in range(settings.days + 1)]
    day_edges = np.array([to_epoch_ms(date, settings.time_zone) for date in dates], np.int64)
    author_category = rng.integers(settings.num_categories, size=settings.num_authors)  # [A]
    author_weight: Floats = np.arange(1, settings.num_authors + 1, dtype=np.float64) ** -0.7  # [A]
    videos = _make_videos(settings, author_category, author_weight, day_edges, rng)
    users = _make_users(settings, author_category, author_weight, rng)
    return World(settings, users, videos, day_edges)


def _make_videos(
    settings: Simulation, author_category: Ints, author_weight: Floats, day_edges: Ints, rng: np.random.Generator
) -> Videos:
    num, dims = settings.num_videos, settings.latent_dims
    author = np.sort(rng.choice(settings.num_authors, size=num, p=author_weight / author_weight.sum()))
    author = rng.permutation(author)
    # Authors keep to their category three times out of four, and to their style.
    category = np.where(
        rng.random(num) < 0.75, author_category[author], rng.integers(settings.num_categories, size=num)
    )
    author_style = rng.normal(size=(settings.num_authors, dims))  # [A, F]
    latent = (0.7 * author_style[author] + 0.7 * rng.normal(size=(num, dims))) / np.sqrt(dims)
    author_quality = rng.normal(size=settings.num_authors)
    music_quality = rng.normal(size=settings.num_music)
    music = (settings.num_music * rng.random(num) ** 2).astype(np.int64)
    quality = 0.6 * author_quality[author] + 0.2 * music_quality[music] + 0.55 * rng.normal(size=num)
    typical_log_ms = np.log(22_000) + 0.5 * rng.normal(size=settings.num_categories)  # [C]
    log_ms = typical_log_ms[category] + 0.6 * rng.normal(size=num)
    popularity = np.empty(num)
    rank_by = quality + 0.6 * rng.normal(size=num)
    popularity[np.argsort(-rank_by)] = np.arange(1, num + 1) ** -settings.zipf_exponent
    popularity /= popularity.sum()
    # Two videos in three are on the platform when the log begins, the others are uploaded while it lasts.
    age_days = rng.permutation(np.arange(num) * 3 < 2 * num) * rng.exponential(20.0, num)
    during = rng.random(num) * (day_edges[-1] - day_edges[0])
    upload = np.where(age_days > 0, day_edges[0] - age_days * DAY_MS, day_edges[0] + during)
    return Videos(
        author=author,
        category=category,
        music=music,
        duration_ms=np.rint(np.clip(np.exp(log_ms), 5_000, 300_000)).astype(np.int64),
        quality=quality - popularity @ quality,
        latent=latent,
        popularity=popularity,
        upload_ms=upload.astype(np.int64),
        by_author=np.argsort(author, kind="stable").astype(np.int64),
        author_start=np.searchsorted(np.sort(author), np.arange(settings.num_authors + 1)).astype(np.int64),
    )


def _make_users(settings: Simulation, author_category: Ints, author_weight: Floats, rng: np.random.Generator) -> Users:
    num, categories, dims = settings.num_users, settings.num_categories, settings.latent_dims
    age = rng.choice(len(AGE_BANDS), size=num, p=[0.12, 0.25, 0.25, 0.18, 0.12, 0.08])
    region = rng.choice(len(REGIONS), size=num, p=[0.2, 0.18, 0.16, 0.14, 0.12, 0.1, 0.06, 0.04])
    # Younger users carry the simpler phones.
    device_odds = np.array([[3, 3, 1, 1], [2, 4, 2, 0.5], [1, 3, 3, 0.5], [1, 3, 3, 1], [2, 3, 2, 1], [3, 2, 1, 2]])
    device_share = np.cumsum(device_odds / device_odds.sum(1, keepdims=True), axis=1)
    device = (rng.random((num, 1)) > device_share[age]).sum(1)
    activity = rng.choice(len(ACTIVITIES), size=num, p=[0.2, 0.35, 0.15, 0.3])
    # Taste: half of its variance comes with age and region, the rest is the user's own.
    by_age = rng.normal(size=(len(AGE_BANDS), categories))
    by_region = rng.normal(size=(len(REGIONS), categories))
    taste = 0.6 * by_age[age] + 0.35 * by_region[region] + 0.7 * rng.normal(size=(num, categories))
    age_style = rng.normal(size=(len(AGE_BANDS), dims))
    latent = 0.5 * age_style[age] + 0.85 * rng.normal(size=(num, dims))
    attention_by_device = np.array([-0.15, 0.0, 0.05, 0.25])
    share = np.array([platform.share for platform in settings.platforms.values()])
    platform_share = share * rng.gamma(2.0, size=(num, len(share)))
    # Users follow known authors, of categories that they like.
    liking = taste[:, author_category]  # [U, A]
    liking += np.log(author_weight) + rng.gumbel(size=liking.shape)
    num_followed = min(NUM_FOLLOWED, settings.num_authors)
    followed = np.argpartition(-liking, num_followed - 1, axis=1)[:, :num_followed]
    return Users(
        age_band=age,
        region=region,
        device=device,
        activity=activity,
        # Centred, so that the rate of glances depends little on the seed; what all users like is the videos' quality.
        taste=taste - taste.mean(0),
        latent=latent - latent.mean(0),
        impatience=_AGE_IMPATIENCE[age] + _DEVICE_IMPATIENCE[device] + 0.6 * rng.normal(size=num),
        attention=attention_by_device[device] + 0.06 * (age - 2) + 0.3 * rng.normal(size=num),
        session_rate=_ACTIVITY_RATE[activity] * np.exp(0.4 * rng.normal(size=num)),
        session_trend=_ACTIVITY_TREND[activity],
        wakes_late=1.5 - 0.6 * age + rng.normal(size=num),
        platform_share=platform_share / platform_share.sum(1, keepdims=True),
        followed=followed.astype(np.int64),
    )


def identifiers(prefix: str, codes: Ints, count: int) -> pa.Array:
    """The names of the ``codes`` out of ``count``: a prefix and a number of constant width, such as ``u0042``."""
    width = len(str(count - 1))
    names = pa.array([f"{prefix}{code:0{width}d}" for code in range(count)])
    return names.take(pa.array(codes))


def category_names(count: int) -> list[str]:
    """One name for each category."""
    more = [f"topic_{number}" for number in range(len(_CATEGORY_NAMES), count)]
    return [*_CATEGORY_NAMES[:count], *more]


def users_table(world: World) -> pa.Table:
    """The user profiles: user_id and the profile columns, all strings."""
    users, num = world.users, world.settings.num_users
    coded = {
        "age_band": (AGE_BANDS, users.age_band),
        "region": (REGIONS, users.region),
        "device": (DEVICES, users.device),
        "activity": (ACTIVITIES, users.activity),
    }
    columns = {name: pa.array(names).take(pa.array(codes)) for name, (names, codes) in coded.items()}
    return pa.table({"user_id": identifiers("u", np.arange(num), num), **columns})


def videos_table(world: World) -> pa.Table:
    """The videos: ids, category and upload day (YYYY-MM-DD, local) as strings, duration_ms int64."""
    settings, videos = world.settings, world.videos
    # Days before the log began have the length of a plain day; only the date is written.
    offsets = (videos.upload_ms - world.day_edges_ms[0]) // DAY_MS
    during = world.day_of(videos.upload_ms)
    offsets = np.where(videos.upload_ms < world.day_edges_ms[0], offsets, during)
    upload_day = [(settings.first_day + datetime.timedelta(days=int(n))).isoformat() for n in offsets]
    return pa.table(
        {
            "video_id": identifiers("v", np.arange(settings.num_videos), settings.num_videos),
            "author_id": identifiers("a", videos.author, settings.num_authors),
            "category": pa.array(category_names(settings.num_categories)).take(pa.array(videos.category)),
            "music_id": identifiers("m", videos.music, settings.num_music),
            "upload_day": pa.array(upload_day),
            "duration_ms": videos.duration_ms,
        }
    )
