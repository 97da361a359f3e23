"""Play sequences: labelled windows of every user's plays, as tf.Examples."""
