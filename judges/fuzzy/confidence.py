"""How sure each kind of verdict of the rules is, from 0 to 1; `cascade` asks a language model below its threshold.

The numbers are judgements that rank the verdicts, not measured frequencies.
"""

from __future__ import annotations

# Nothing to misread.
WHOLE_ANSWER = 1.0  # the answer is a label's name and nothing else
NO_DOUBT = 1.0  # lowers no other number
EMPTY = 0.99  # an answer without words
BLANK = 0.97  # a short answer that is only markup and talk to the judge

# An answer is found.
LETTER = 0.97  # an option's letter leaves nothing to interpret
OPTION_TEXT = 0.93  # an option's text may also occur in a sentence about it
SAME_NUMBER = 0.97  # numbers are compared exactly
OTHER_NUMBER = 0.93  # the number found may not be the one asked for
EXACT_TEXT = 0.97  # an exact title or name
SPELLED_TEXT = 0.85  # a title or name with wrong characters
YES_NO = 0.95  # a plain yes or no
OTHER_TEXT = 0.9  # another title or name, unlike the right one
ALIKE_TEXT = 0.65  # another title or name that is much like the right one
SYMBOLS = 0.6  # the right answer has no words, so that signs are compared
LABEL = {
    "name": 0.95,  # the class's own name, in a sentence
    "synonym": 0.92,  # the vocabulary's synonyms may be wider than the class
    "subtype": 0.85,  # a subtype asks for knowledge that the vocabulary may lack
    "misspelling": 0.7,  # may be another word
}
OTHER_LABEL = 0.9  # digits and other hits that are not among these

# Several answers, or part of the text does not count.
SEVERAL_LABELS = 0.9  # one of them may be meant only in passing
SEVERAL_SENTENCES = 0.65  # one of them may be taken back in words that the rules do not know
SEVERAL_OPTIONS = 0.85  # one of them may be meant only in passing
PART_IGNORED = 0.8  # something denied or said to the judge was left out
JUDGE_TALK = 0.8  # text that addresses the judge may contain the answer
DENIED = 0.85  # the reach of a denial is a matter of grammar
DENIED_BY_CONTRAST = 0.65  # "a cat would be larger" denies only by implication
STATED_ANSWER = 0.85  # the conclusion counts and the reasoning does not
LONG_NUMBER = 0.85  # a number of several digits beside the digit
DESCRIBES = 0.75  # a label that only describes another ("baby elephant")
OFFERED = 0.8  # a list of labels may be an answer and not the question's
OFFERED_ALONE = 0.65  # nothing but the question's labels, which may still be an answer
CORRECTED = 0.7  # where a correction begins is a guess
CORRECTED_BEYOND = 0.65  # what replaces the label is unknown
CONSIDERED = 0.7  # a label named with doubt before another may be meant as well
COMPARED = 0.7  # a comparison may be meant as an answer
MISSPELT = 0.7  # no label, but something close to one
NO_THING = 0.65  # a label used as a verb, an adjective or part of another name
DENIED_TEXT = 0.7  # the right answer is denied, and another may be given
OPEN_BETWEEN_TWO = 0.6  # "X or Y" may offer one name twice

# No answer is found.
REFUSED = 0.9  # a refusal, and no answer after it
REFUSED_LABEL = 0.85  # a refusal, a denial or the name of something else, which may hide an unknown synonym
REFUSED_YES_NO = 0.85  # a refusal may still lean to one side
CLASS_NO_OPTION = 0.9  # names the picture's class, which is not an option
NO_OPTION = 0.75  # may paraphrase an option
DESCRIPTION = 0.75  # only words that describe the picture
DIGITS_UNREAD = 0.7  # digits in a form that the rules do not read
NO_LABEL = 0.6  # may hide a synonym that the vocabulary lacks
NO_NUMBER = 0.6  # may give the number in words
NEITHER_YES_NOR_NO = 0.5  # may imply either
