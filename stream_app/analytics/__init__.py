"""What a history and a stream say about a shop beside the scores: pure, in one pass, in bounded memory.

Events come in as `Block`s, many at once and column by column, which is what makes Python quick enough for histories of
many millions. `TimeOrder` brings them into the order of their times; everything else takes what it releases. Nothing
here reads a file or a clock: `stream_app.block_files` turns files into blocks, and rows into files.
"""
