"""A media site on loopback that misbehaves as each request's query asks, and remembers all requests.

    async with open_site(make_media(folder)) as site:
        site.url("/video.mp4?rate=100000")   # http://127.0.0.1:PORT/video.mp4?rate=100000
        site.requests                        # all requests, oldest first

`python -m tests.site [PORT]` runs it alone and prints its address.

| path                                      | what it is                                                   |
|-------------------------------------------|--------------------------------------------------------------|
| `/video.mp4`                              | 4 s, 320x180, H.264 and AAC, some 380 kB                     |
| `/1mb.mp4`, `/8mb.mp4`                    | the same film, exactly 1,000,000 and 8,000,000 bytes         |
| `/silent.mp4`, `/audio.m4a`, `/audio.mp3` | its picture alone, its tone alone                            |
| `/clip.webm`                              | 1 s, 160x90, VP9 and Opus                                    |
| `/thumbnail.jpg`, `.png`, `.webp`         | its first picture                                            |
| `/hls/ts/`, `/hls/fmp4/`, `/hls/aes/`     | `index.m3u8` and 4 segments: MPEG-TS, fragmented MP4, AES-128 |
| `/hls/live/index.m3u8`                    | a playlist without an end, a new segment each second         |
| `/hls/broadcast/index.m3u8`               | 20 s in 20 segments, one more with each request, then an end: |
|                                           | `step=N` more; `end=N` after N; `quiet=N` no more than N,    |
|                                           | and no end; `gone=N` 404 after N; `busy=N` 503 after N,      |
|                                           | `back=M` until M; `segments=` prefix of their names;         |
|                                           | `signed=yes`: its links differ with each answer;             |
|                                           | `window=N`: only the newest N; `held=N`: no more than N      |
|                                           | until `site.release()`;                                      |
|                                           | `key=` the key's URL; `n=` another broadcast like it;        |
|                                           | `over=S` ends S seconds after the first request, no earlier  |
| `/hls/broadcast/apart.m3u8`               | the same, with a playlist of its own for the sound           |
| `/told/announced?in=S`                    | JSON for `tests.fakes.told`: the same, which begins S seconds |
|                                           | after the first request; `unsaid=yes`: gives no start time    |
| `/told/parts`                             | the same for a film in two parts                              |
| `/told/sponsored?src=`                    | the same for the film at `src=`, as YouTube's; SponsorBlock's |
|                                           | `/api/skipSegments/` marks its third second as a sponsor's   |
| `/hls/master/index.m3u8`                  | a choice: `best=` (`/hls/ts/`), `next=` (`/hls/fmp4/`), `last=`|
| `/hls/ranges/index.m3u8`                  | one segment of `/hls/ts/` in three pieces, by byte range      |
| `/smil?best=&next=`                       | SMIL with two qualities of a film, both `/video.mp4`          |
| `/ism/Manifest`                           | Smooth Streaming whose fragments are missing                  |
| `/dash/manifest.mpd`                      | DASH, video and audio separate; `broken=yes`: with a better   |
|                                           | video, whose segments are missing; `periods=2`: the film     |
|                                           | twice, in a period each                                      |
| `/page?title=&duration=&uploader=`        | HTML with a JSON-LD VideoObject of `src=` and `thumbnail=`;  |
|                                           | `kind=video`: `<video>` and og:title, `kind=og`: og:video;   |
|                                           | with a `<track>` for each `track=LINK:LANGUAGE`;             |
|                                           | `chapters=yes`: JSON-LD with two chapters                    |
| what `documented.LEADS_TO` has            | 302 to what the links of the documents stand for             |
| `/page/<name>`                            | the same with an odd title, see `pages.TITLES`               |
| `/feed?entry=&count=`                      | a list: these entries, then `count=` films; after `delay=` s, |
|                                           | or with `stall=yes` not before `site.release()`;             |
|                                           | `stale=N`: the links of its first N answers have expired      |
| `/followed/<name>.rss`, `.atom`           | feeds that a test changes: `site.followed[name]`             |
| `/told/followed-<name>`                   | the same as a list for `tests.fakes.told`, page by page      |
| `/page/playlist`, `/page/blank`           | two videos by relative links (`first=`); no video at all     |
| `/texts/<name>`                           | a file of the folder `texts`; `type=`: its Content-Type      |
| `/more/<path>`                            | files that `tests.corpus.media` has added                    |
| `/redirect?to=URL`, `/redirect/endless`   | 302 to there; 302 for ever                                   |
| `/ticket?to=URL&good=N`                   | 302 to there with a ticket that is valid for N requests      |
| `/endless.mp4`                            | a body without end                                           |
| `/bomb`                                   | gzip that unpacks to `mib=` (1024), a thousand times its size |
| `/garbage.mp4`                            | bytes that are no film                                       |

All files and segments, `/endless.mp4` and `/garbage.mp4` take these in the query; a playlist or manifest
hands its own on to its segments:

| query         | the answer                                                                            |
|---------------|---------------------------------------------------------------------------------------|
| `rate=B`      | comes at B bytes a second                                                             |
| `wait=S`      | begins after S seconds                                                                |
| `ranges=no`   | ignores Range                                                                         |
| `chunked=yes` | has no Content-Length                                                                 |
| `lie=N`       | has a Content-Length N bytes too large; below 0: ends N bytes early, at that length   |
| `stall=N`     | stops after N bytes until `site.release()`; `await site.stalled()` waits for a stall  |
| `cut=N`       | ends after N bytes, and the connection with it                                        |
| `status=CODE` | has that status, with `retry_after=S` if wanted                                       |
| `times=K`     | has this fault (lie, stall, cut, status) K times, then no more                        |
| `after=K`     | has it only after K good requests for this very URL (yt-dlp looks once, then loads)   |
| `login=NAME`  | is a 403 without the cookie `session=NAME`                                            |
| `renew=NAME`  | sets that cookie, for an hour                                                         |
| `referer=own` | is a 403 unless the Referer is a page of the site                                     |
| `type=KIND`   | has this Content-Type; `attached=NAME`: a Content-Disposition                         |
| `etag=yes`    | has an ETag, a new one each time                                                      |
| `missing=N`   | (HLS playlists) segment N is a 404                                                    |
| `only=N`      | (HLS playlists) the rest of the query is for segment N alone                          |
"""

from tests.site.app import Seen, Site, open_site
from tests.site.media import SECONDS, Film, make_media, probe, sha256

__all__ = ["SECONDS", "Film", "Seen", "Site", "make_media", "open_site", "probe", "sha256"]
