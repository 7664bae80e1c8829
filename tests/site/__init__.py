"""A media site on loopback that behaves as badly as it is asked to, and remembers who asked for what.

    async with open_site(make_media(folder)) as site:
        site.url("/video.mp4?rate=100000")   # http://127.0.0.1:PORT/video.mp4?rate=100000
        site.requests                        # all that was asked, oldest first

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
| `/hls/broadcast/index.m3u8`               | 20 s in 20 segments, one more at each look at it, then an end: |
|                                           | `step=N` more; `end=N` after N; `quiet=N` no more than N,    |
|                                           | and no end; `gone=N` 404 after N; `busy=N` 503 after N,      |
|                                           | `back=M` until M; `segments=` in front of their names;       |
|                                           | `key=` the key's URL; `n=` another one like it;              |
|                                           | `over=S` it ends S seconds after the first look, no earlier  |
| `/hls/broadcast/apart.m3u8`               | the same, its sound in a playlist of its own                 |
| `/told/announced?in=S`                    | JSON for `tests.fakes.told`: the same, which begins S seconds |
|                                           | after the first look; `unsaid=yes`: without saying when       |
| `/told/parts`, `/told/link?url=`          | the same for a film in two parts, and for the film at a link |
| `/told/sponsored?src=`                    | the same for that film, as one of YouTube's; SponsorBlock's   |
|                                           | `/api/skipSegments/` says that its third second is paid for  |
| `/hls/master/index.m3u8`                  | a choice: `best=` (`/hls/ts/`), `next=` (`/hls/fmp4/`), `last=`|
| `/hls/ranges/index.m3u8`                  | one segment of `/hls/ts/` in three pieces, by byte range      |
| `/smil?best=&next=`                       | SMIL with two qualities of a film, both `/video.mp4`          |
| `/ism/Manifest`                           | Smooth Streaming whose fragments are not there                |
| `/dash/manifest.mpd`                      | DASH, video and audio separate; `broken=yes`: with a better   |
|                                           | picture, of which no segment is there; `periods=2`: the film |
|                                           | twice, in a period each                                      |
| `/page?title=&duration=&uploader=`        | HTML with a JSON-LD VideoObject of `src=` and `thumbnail=`;  |
|                                           | `kind=video`: `<video>` and og:title, `kind=og`: og:video;   |
|                                           | with a `<track>` for each `track=LINK:LANGUAGE`              |
| `/page/<name>`                            | the same with an odd title, see `pages.TITLES`               |
| `/feed?entry=&count=`                      | a list: these entries, and so often the film; after `delay=`  |
| `/page/playlist`, `/page/blank`           | two videos by relative links (`first=`); no video at all     |
| `/texts/<name>`                           | a page, playlist or manifest of the folder `texts`; `type=`  |
| `/more/<path>`                            | what `tests.corpus.media` has added                          |
| `/redirect?to=URL`, `/redirect/endless`   | 302 to there; 302 for ever                                   |
| `/ticket?to=URL&good=N`                   | 302 to there with a ticket, which N requests are let in with |
| `/endless.mp4`                            | a body without end                                           |
| `/bomb`                                   | gzip that unpacks to `mib=` (1024), a thousand times its size |
| `/garbage.mp4`                            | bytes that are no film                                       |

All files and segments, `/endless.mp4` and `/garbage.mp4` take these in the query; a playlist or manifest
hands its own on to its segments:

| query         | the answer                                                                            |
|---------------|---------------------------------------------------------------------------------------|
| `rate=B`      | comes at B bytes a second                                                             |
| `wait=S`      | begins after S seconds                                                                |
| `ranges=no`   | knows no Range                                                                        |
| `chunked=yes` | has no Content-Length                                                                 |
| `lie=N`       | promises N bytes more than come; below 0: ends N bytes early, and says so             |
| `stall=N`     | stops after N bytes until `site.release()`; `await site.stalled()`: somebody hangs    |
| `cut=N`       | ends after N bytes, and the connection with it                                        |
| `status=CODE` | is that status, with `retry_after=S` if wanted                                        |
| `times=K`     | does so (lie, stall, cut, status) K times, then all is well                           |
| `after=K`     | and not before K requests for this very URL went well (yt-dlp looks once, then loads) |
| `login=NAME`  | is a 403 for those without this cookie `session`                                      |
| `renew=NAME`  | sets that cookie, for an hour                                                         |
| `referer=own` | is a 403 for those who do not come from a page of the site                            |
| `type=KIND`   | has this Content-Type; `attached=NAME`: a Content-Disposition                         |
| `etag=yes`    | has an ETag, each time another one                                                    |
| `missing=N`   | (HLS playlists) segment N is a 404                                                    |
| `only=N`      | (HLS playlists) the rest of the query is for segment N alone                          |
"""

from tests.site.app import Seen, Site, open_site
from tests.site.media import SECONDS, Film, make_media, probe, sha256

__all__ = ["SECONDS", "Film", "Seen", "Site", "make_media", "open_site", "probe", "sha256"]
